"""Kinds of models: causal language models, and what is refused since it is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from dpo_lightning.errors import DPOLightningError, InputError
from dpo_lightning.utils.text import one_line
from dpo_lightning.utils.torch_modes import probing

_TOKENS = 4
_CHANGED = 1
# Of the logits' size. Rounding stays far below it, in a mixture of experts too.
_LEAK = {torch.float16: 0.02, torch.bfloat16: 0.02}
_LEAK_OTHERWISE = 1e-5
_CLASSIFIERS = ("ForSequenceClassification", "ForTokenClassification")
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


def check_saved_class(what: str, config: Any) -> None:
    """Refuse what was saved as a classifier, such as a reward model: a tied embedding would be loaded as its head.

    Raises:
        InputError: for one.
    """
    classes: list[str] = getattr(config, "architectures", None) or []
    if found := next((name for name in classes if name.endswith(_CLASSIFIERS)), None):
        raise InputError(f"{what} is a {found}, which gives classes and no tokens: give a causal language model")


def check_causal(policy: nn.Module, what: str = "policy") -> None:
    """Find out in one short forward whether a model of transformers is a causal language model.

    Args:
        policy: The model.
        what: The argument that gave it, as messages name it.

    Raises:
        InputError: for an encoder-decoder, for one whose forward gives no logits of its tokens, and for one that
            attends in both directions.
    """
    if is_of_transformers(policy):
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
    if not is_of_transformers(policy):
        _check_forward(policy, what)


def is_of_transformers(policy: nn.Module) -> bool:
    """Return whether a model is one of transformers, or has one inside, and says which embeddings it has."""
    from transformers import PreTrainedModel

    asks = hasattr(policy, "get_input_embeddings")
    return asks and any(isinstance(module, PreTrainedModel) for module in policy.modules())


def _check_forward(policy: nn.Module, what: str) -> None:
    name = f"{what}: the forward of {type(policy).__name__}"
    try:
        device, dtype = next(((each.device, each.dtype) for each in policy.parameters()), _WITHOUT_WEIGHTS)
        if device.type == "meta":
            return
        devices = [device] if device.type == "cuda" else []
        # Sharded models are built where the default device is `meta`.
        with device, torch.no_grad(), probing(policy), torch.random.fork_rng(devices):
            ids = probe_ids(policy)
            output = policy(input_ids=ids)
    except (DPOLightningError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # of any kind: what a model raises that is given other input than its own
        raise _no_logits(name, _other_input(policy) or f"{type(error).__name__}: {one_line(error, 200)}") from error
    logits: Any = getattr(output, "logits", None)
    if (problem := _output_problem(policy, output, logits, ids)) is not None:
        raise _no_logits(name, problem)
    first, second, third = logits.double()
    if logits.shape[1] == ids.shape[1] and _is_behind(first, third, dtype):
        raise InputError(
            f"{what}: the logits of {type(policy).__name__} stand behind their tokens: a token changes those of later "
            "positions and not those of its own, so its scores would be those of other tokens; give a module whose "
            "logits at a position are those of the token that follows it"
        )
    first, second = first[:-1], second[:-1]
    change = ((first - second).norm() / first.norm()).item()
    if change > _LEAK.get(dtype, _LEAK_OTHERWISE):
        raise InputError(
            f"{what}: {type(policy).__name__} is no causal language model: a later token changes the logits of earlier "
            "ones, as in an encoder, or a masked or prefix language model; give a causal one"
        )


def _is_behind(before: Tensor, after: Tensor, dtype: torch.dtype) -> bool:
    """Return whether a changed token, at `_CHANGED`, shows in the logits `[L, V]` of later positions alone."""
    change = (before - after).norm(dim=-1) / before.norm(dim=-1)
    later = change[_CHANGED + 1 :].max().item()
    return change[_CHANGED].item() <= _LEAK_OTHERWISE and later > _LEAK.get(dtype, _LEAK_OTHERWISE)


def _no_logits(name: str, why: str) -> InputError:
    return InputError(
        f"{name} with `input_ids` gives no logits of the next token ({why}): give a causal "
        "language model with its head, as AutoModelForCausalLM loads it, or a module that takes `input_ids` and "
        "returns an object whose `logits` are [rows, tokens, vocabulary]"
    )


def probe_ids(policy: nn.Module) -> Tensor:
    """Return three rows of ids, `[3, 4]`; the second differs from the first in the last one, the third at `_CHANGED`.

    None has a meaning of its own, such as padding: a model may leave that out, and then no change of it shows anything.
    """
    special = {number for module in policy.modules() for number in _special_ids(getattr(module, "config", None))}
    tables = [module.num_embeddings for module in policy.modules() if isinstance(module, nn.Embedding)]
    rows = embedding_rows(policy) or min(tables, default=2 * _TOKENS)
    ordinary = [number for number in range(min(rows, 1000)) if number not in special]
    if len(ordinary) < 2:
        ordinary = list(range(rows))
    chosen = ordinary[: 2 * _TOKENS]
    ids = torch.tensor(chosen)[torch.arange(_TOKENS).clamp(max=len(chosen) - 2)].repeat(3, 1)
    ids[1, -1] = ids[2, _CHANGED] = chosen[-1]
    return ids


def _special_ids(config: Any) -> Iterator[int]:
    """Yield the ids that a config has a name for: `pad_token_id`, `pad_index`, `image_token_index`."""
    for name, value in vars(config).items() if hasattr(config, "__dict__") else ():
        if name.endswith(("_id", "_ids", "_index")):
            yield from (each for each in (value if isinstance(value, list) else [value]) if isinstance(each, int))


def embedding_rows(model: nn.Module) -> int | None:
    """Return the rows of a model's input embedding, which its token ids count; None where it does not say."""
    getter: Callable[[], Any] | None = getattr(model, "get_input_embeddings", None)
    try:
        embedding = None if getter is None else getter()
    except NotImplementedError:  # transformers' answer where it finds none
        return None
    weight = getattr(embedding, "weight", None)
    return weight.shape[0] if isinstance(weight, Tensor) and weight.ndim else None


def _other_input(policy: nn.Module) -> str | None:
    """Return what a model of transformers reads instead of text, in words; None where it reads that."""
    main: str = getattr(policy, "main_input_name", "input_ids")
    return None if main == "input_ids" else f"what it reads are `{main}`"


def _output_problem(policy: nn.Module, output: Any, logits: Any, ids: Tensor) -> str | None:
    """Return why an output holds no logits for each token, in words; None where it does.

    Virtual tokens in front make more positions, which scoring refuses in words of its own. A few multimodal models
    have more input embeddings than logits.
    """
    if not isinstance(logits, Tensor):
        return f"its output, a {type(output).__name__}, has no `logits`"
    shape = list(logits.shape)
    if len(shape) != 3 or shape[0] != len(ids) or shape[1] < ids.shape[1]:
        return f"its logits have the shape {shape} for {list(ids.shape)} tokens"
    rows = embedding_rows(policy)
    ask: Callable[[], Any] | None = getattr(policy, "get_output_embeddings", None)
    head = None if ask is None else ask()
    if rows is None or shape[2] >= rows or (head is not None and head.weight.shape[0] == shape[2]):
        return None
    return f"its logits are over {shape[2]} classes, and it reads {rows} tokens"
