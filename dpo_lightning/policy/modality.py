"""Kinds of models: causal or not, and the parts of one that a text never comes to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from dpo_lightning.errors import DPOLightningError, InputError
from dpo_lightning.utils.text import one_line
from dpo_lightning.utils.torch_modes import evaluating

_TOKENS = 4
# Of the logits' size. Rounding stays far below it, in a mixture of experts too.
_LEAK = {torch.float16: 0.02, torch.bfloat16: 0.02}
_LEAK_OTHERWISE = 1e-5
_WITHOUT_WEIGHTS = torch.device("cpu"), torch.float32


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


def check_causal(policy: nn.Module, what: str = "policy") -> None:
    """Find out in one short forward whether a model of transformers is a causal language model.

    Args:
        policy: The model.
        what: The argument that gave it, as messages name it.

    Raises:
        InputError: for an encoder-decoder, for one whose forward gives no logits of its tokens, and for one that
            attends in both directions.
    """
    if _is_of_transformers(policy):
        check_decoder_config(f"{what}: {type(policy).__name__}", getattr(policy, "config", None))
        _check_forward(policy, what)


def check_plain(policy: nn.Module, what: str = "policy") -> None:
    """Find out the same about any other module, which a run calls with `input_ids` as well.

    Args:
        policy: The module.
        what: The argument that gave it, as messages name it.

    Raises:
        InputError: as `check_causal`.
    """
    if not _is_of_transformers(policy):
        _check_forward(policy, what)


def _is_of_transformers(policy: nn.Module) -> bool:
    from transformers import PreTrainedModel

    asks = hasattr(policy, "get_input_embeddings")
    return asks and any(isinstance(module, PreTrainedModel) for module in policy.modules())


def _check_forward(policy: nn.Module, what: str) -> None:
    name = f"{what}: the forward of {type(policy).__name__}"
    try:
        device, dtype = next(((each.device, each.dtype) for each in policy.parameters()), _WITHOUT_WEIGHTS)
        if device.type == "meta":
            return
        ids = _probe_ids(policy).to(device)
        devices = [device] if device.type == "cuda" else []
        with torch.no_grad(), evaluating(policy), torch.random.fork_rng(devices):
            logits = policy(input_ids=ids).logits
        problem = _shape_problem(policy, logits, ids)
    except (DPOLightningError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # of any kind: what a model raises that is given other input than its own
        raise _no_logits(name, f"{type(error).__name__}: {one_line(error, 200)}") from error
    if problem is not None:
        raise _no_logits(name, problem)
    first, second = logits[:, :-1].double()
    change = ((first - second).norm() / first.norm()).item()
    if change > _LEAK.get(dtype, _LEAK_OTHERWISE):
        raise InputError(
            f"{what}: {type(policy).__name__} is no causal language model: a later token changes the logits of earlier "
            "ones, as in an encoder or a masked language model; give a causal one"
        )


def _no_logits(name: str, why: str) -> InputError:
    return InputError(
        f"{name} with `input_ids` gives no logits of the next token ({why}): give a causal "
        "language model with its head, as AutoModelForCausalLM loads it, or a module that takes `input_ids` and "
        "returns an object whose `logits` are [rows, tokens, vocabulary]"
    )


def _probe_ids(policy: nn.Module) -> Tensor:
    """Return two rows of ids, `[2, 4]`, that differ in the last one; none has a meaning of its own, such as padding.

    A model may leave out what it takes for padding, and then no change of it shows anything.
    """
    special = {number for module in policy.modules() for number in _special_ids(getattr(module, "config", None))}
    tables = [module.num_embeddings for module in policy.modules() if isinstance(module, nn.Embedding)]
    rows = _vocabulary(policy) or min(tables, default=2 * _TOKENS)
    ordinary = [number for number in range(min(rows, 1000)) if number not in special]
    if len(ordinary) < 2:
        ordinary = list(range(rows))
    chosen = ordinary[: 2 * _TOKENS]
    ids = torch.tensor(chosen)[torch.arange(_TOKENS).clamp(max=len(chosen) - 2)].repeat(2, 1)
    ids[1, -1] = chosen[-1]
    return ids


def _special_ids(config: Any) -> Iterator[int]:
    """Yield the ids that a config has a name for: `pad_token_id`, `pad_index`, `image_token_index`."""
    for name, value in vars(config).items() if hasattr(config, "__dict__") else ():
        if name.endswith(("_id", "_ids", "_index")):
            yield from (each for each in (value if isinstance(value, list) else [value]) if isinstance(each, int))


def _vocabulary(policy: nn.Module) -> int | None:
    """Return the number of rows of the input embeddings; None of a module that does not say."""
    ask: Callable[[], Any] | None = getattr(policy, "get_input_embeddings", None)
    embeddings = None if ask is None else ask()
    return None if embeddings is None else int(embeddings.weight.shape[0])


def _shape_problem(policy: nn.Module, logits: Any, ids: Tensor) -> str | None:
    """Return why an output holds no logits for each token, in words; None where it does.

    Virtual tokens in front make more positions, which scoring refuses in words of its own. A few multimodal models
    have more input embeddings than logits.
    """
    shape = list(getattr(logits, "shape", ()))
    if len(shape) != 3 or shape[0] != len(ids) or shape[1] < ids.shape[1]:
        return f"its logits have the shape {shape} for {list(ids.shape)} tokens"
    rows = _vocabulary(policy)
    ask: Callable[[], Any] | None = getattr(policy, "get_output_embeddings", None)
    head = None if ask is None else ask()
    if rows is None or shape[2] >= rows or (head is not None and head.weight.shape[0] == shape[2]):
        return None
    return f"its logits are over {shape[2]} classes, and it reads {rows} tokens"


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
