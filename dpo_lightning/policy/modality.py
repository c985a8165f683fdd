"""Kinds of models: causal or not, and the parts of one that a text never comes to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from dpo_lightning.errors import InputError
from dpo_lightning.utils.tensors import device_of
from dpo_lightning.utils.torch_modes import evaluating

_TOKENS = 4
# Of the logits' size. Rounding stays far below it, in a mixture of experts too.
_LEAK = {torch.float16: 0.02, torch.bfloat16: 0.02}
_LEAK_OTHERWISE = 1e-5


def check_decoder_config(what: str, config: Any) -> None:
    """Refuse the config of an encoder-decoder.

    Args:
        what: How the message names the model.
        config: A config of transformers; anything else passes.

    Raises:
        InputError: for an encoder-decoder, whose decoder alone is another model.
    """
    if getattr(config, "is_encoder_decoder", False):
        kind = getattr(config, "model_type", "")
        raise InputError(f"{what} is an encoder-decoder ({kind}): give a causal language model, a decoder alone")


def check_causal(policy: nn.Module) -> None:
    """Find out in one short forward whether a later token changes the logits of an earlier one.

    Only models of transformers that are on a device are asked: a plain module may take other arguments.

    Raises:
        InputError: for an encoder-decoder, and for a model that attends in both directions.
    """
    from transformers import PreTrainedModel

    ask: Callable[[], Any] | None = getattr(policy, "get_input_embeddings", None)
    if ask is None or not any(isinstance(module, PreTrainedModel) for module in policy.modules()):
        return
    name = type(policy).__name__
    check_decoder_config(f"policy: {name}", getattr(policy, "config", None))
    device = device_of(policy)
    embeddings = ask()
    if device.type == "meta" or embeddings is None:
        return
    last = min(embeddings.weight.shape[0], 2 * _TOKENS) - 1
    ids = torch.arange(_TOKENS, device=device).clamp(max=last).repeat(2, 1)
    ids[1, -1] = last
    devices = [device] if device.type == "cuda" else []
    with torch.no_grad(), evaluating(policy), torch.random.fork_rng(devices):
        first, second = policy(input_ids=ids).logits[:, :-1].double()
    change = ((first - second).norm() / first.norm()).item()
    if change > _LEAK.get(next(policy.parameters()).dtype, _LEAK_OTHERWISE):
        raise InputError(
            f"policy: {name} is no causal language model: a later token changes the logits of earlier ones, as in an "
            "encoder or a masked language model; give a causal one"
        )


class OtherParts(NamedTuple):
    """The parts of a multimodal model that a text never comes to, by name: a vision tower, its projector.

    Attributes:
        modules: The largest modules without anything of the language model.
        parameters: Parameters beside these, of modules that hold the language model.
    """

    modules: dict[str, nn.Module]
    parameters: dict[str, nn.Parameter]

    def freeze(self) -> None:
        """Train none of it: its parameters would get no gradient, which DDP does not stand."""
        trained = [each for each in self._all_parameters() if each.requires_grad]
        for parameter in trained:
            parameter.requires_grad_(False)
        if trained:
            rank_zero_info(
                f"policy: {sum(each.numel() for each in trained):,} weights outside the language model are frozen, "
                f"since no text comes to them: {', '.join([*self.modules, *self.parameters])}"
            )

    def excluded_with(self, excluded: str | Sequence[str] | None) -> str | Sequence[str] | None:
        """Return a pattern of these modules and of those that adapters leave out already, for PEFT."""
        if not self.modules:
            return excluded
        ours = "|".join(re.escape(name) for name in self.modules)
        if isinstance(excluded, str):
            return rf"(?:{excluded})|(?:{ours})(?:\..*)?"
        theirs = "".join(rf"|(?:.*\.)?{re.escape(name)}" for name in excluded or [])
        return rf"(?:{ours})(?:\..*)?{theirs}"

    def _all_parameters(self) -> Iterator[nn.Parameter]:
        for module in self.modules.values():
            yield from module.parameters()
        yield from self.parameters.values()


def other_parts(policy: nn.Module) -> OtherParts:
    """Return the parts of a model beside its language model; of a model of texts there are none."""
    found = OtherParts({}, {})
    config: Any = getattr(policy, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    if text is config:
        return found
    language = {module for module in policy.modules() if type(getattr(module, "config", None)) is type(text)}
    if language:
        ends = [policy.get_input_embeddings(), policy.get_output_embeddings()]  # type: ignore[operator]
        _look_into(policy, "", language | {end for end in ends if end is not None}, found)
    return found


def _look_into(module: nn.Module, prefix: str, kept: set[nn.Module], found: OtherParts) -> None:
    for name, parameter in module.named_parameters(recurse=False):
        found.parameters[prefix + name] = parameter
    for name, child in module.named_children():
        if child in kept:
            continue
        if not kept.isdisjoint(child.modules()):
            _look_into(child, f"{prefix}{name}.", kept, found)
        elif next(child.parameters(), None) is not None:
            found.modules[prefix + name] = child
