"""The parts of a model that a text never comes to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from dpo_lightning.policy.modality import is_of_transformers, probe_ids
from dpo_lightning.utils.torch_modes import probing

_LAYER = re.compile(r"\.\d+(\.|$)")
_NAMED = 8


class OtherParts(NamedTuple):
    """The parts of a model that a text never comes to, by name: a vision tower, its projector, layers that look at it.

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
            names = [*self.modules, *self.parameters]
            rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            rank_zero_info(
                f"policy: {sum(each.numel() for each in trained):,} weights outside the language model are frozen, "
                f"since no text comes to them: {', '.join(names[:_NAMED])}{rest}"
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


def other_parts(policy: nn.Module, *, tried: bool = True) -> OtherParts:
    """Return the parts of a model beside its language model; of most models of texts there are none.

    Args:
        policy: A causal language model.
        tried: Look in a short forward, too, for layers that a text does not come to, such as the cross-attention of a
            decoder; False where not every rank has the weights, and all must find the same.
    """
    found = OtherParts({}, {})
    config: Any = getattr(policy, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    language = set() if text is config else _of_config(policy, text)
    if language:
        ends = [policy.get_input_embeddings(), policy.get_output_embeddings()]  # type: ignore[operator]
        _look_into(policy, "", language | {end for end in ends if end is not None}, found)
    device = next(policy.parameters(), torch.empty(0)).device
    if tried and device.type != "meta" and is_of_transformers(policy):
        found.modules.update(_silent_layers(policy, device))
    return found


def _of_config(policy: nn.Module, config: Any) -> set[nn.Module]:
    return {module for module in policy.modules() if type(getattr(module, "config", None)) is type(config)}


def _silent_layers(policy: nn.Module, device: torch.device) -> dict[str, nn.Module]:
    """Return the layers, and the parts of layers, that a short forward neither calls nor computes its logits from.

    Their parameters get no gradient. An expert that these few tokens were not sent to is none of them, and neither is
    a head beside the layers, which a loss of one's own may read.
    """
    called: set[nn.Module] = set()
    handles = [each.register_forward_pre_hook(lambda module, _: called.add(module)) for each in policy.modules()]
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.enable_grad(), probing(policy), torch.random.fork_rng(devices):
            reached = _leaves(policy(input_ids=probe_ids(policy).to(device)).logits)
    finally:
        for handle in handles:
            handle.remove()

    def silent(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
        parameters = set(module.parameters())
        if not parameters or "expert" in name:
            return
        is_silent = called.isdisjoint(module.modules()) and reached.isdisjoint(parameters)
        if is_silent and _LAYER.search(name):
            yield name, module
        elif not is_silent or isinstance(module, nn.ModuleList):
            for own, child in module.named_children():
                yield from silent(child, f"{name}.{own}" if name else own)

    return dict(silent(policy, ""))


def _leaves(output: Tensor) -> set[Tensor]:
    """Return the parameters that an output was computed from."""
    found: set[Tensor] = set()
    seen: set[Any] = set()
    waiting: list[Any] = [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(leaf := getattr(node, "variable", None), Tensor):  # a node of torch that adds to its `grad`
            found.add(leaf)
        waiting.extend(following for following, _ in node.next_functions)
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
