"""Registration of the tree's attention with transformers: an attention and a mask beside each of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dpo_lightning.attention.kernels import Kernel, Softmax
from dpo_lightning.attention.kernels.blocked import BLOCKED
from dpo_lightning.attention.kernels.flex import FLEX
from dpo_lightning.attention.kernels.plain import MASKED
from dpo_lightning.attention.kernels.varlen import VARLEN
from dpo_lightning.attention.mask import TreeMask
from dpo_lightning.batch import PreferenceBatch, TreeLayout
from dpo_lightning.compat.transformers import attention_implementation, own_attention, own_mask, rows_of_one_sequence
from dpo_lightning.errors import RunError
from dpo_lightning.utils.logs import log_level
from dpo_lightning.utils.torch_modes import compute_dtype

_PREFIX = "tree_"
_WRAPPED = ("sdpa", "eager")
_FASTEST_FIRST = (VARLEN, FLEX, BLOCKED, MASKED)


class TreeError(RunError):
    """A batch in the tree layout, for a model that it is not right for.

    Args:
        problem: The reason, in words that follow "since".

    Attributes:
        problem: The reason alone; the message has the remedy too.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"{problem}, so the tree layout is wrong for it: make the batches with collate_padded, or set data.layout "
            "to padded"
        )
        self.problem = problem


@dataclass
class _TreeForward:
    """A forward over a tree that is under way."""

    tree: TreeLayout
    attention_calls: int = 0


_under_way: ContextVar[_TreeForward | None] = ContextVar("tree_forward", default=None)


@contextmanager
def layout_inputs(model: nn.Module, batch: PreferenceBatch) -> Iterator[dict[str, Tensor]]:
    """Arguments for one forward of `model` over the batch; a tree's attention is in force inside the block.

    A model of transformers gets another attention implementation at its first tree and keeps it. Where no tree is
    under way, that one calls the implementation that the model had. The backward, with or without gradient
    checkpointing, may come after the block.

    Raises:
        TreeError: when the model cannot use another attention, or did not call it.
    """
    if batch.tree is None:
        with _forward_under_way(None), rows_of_one_sequence():
            yield {"input_ids": batch.input_ids}
        return
    if problem := use_tree_attention(model):
        raise TreeError(problem)
    forward = _TreeForward(batch.tree)
    with _forward_under_way(forward):
        yield {
            "input_ids": batch.input_ids,
            # With a 2D mask, transformers does not look for packed sequences in the positions.
            "attention_mask": torch.ones_like(batch.input_ids),
            "position_ids": batch.tree.position_ids,
        }
    if not forward.attention_calls:
        raise TreeError(f"{type(model).__name__} never calls a registered attention")


@contextmanager
def _forward_under_way(forward: _TreeForward | None) -> Iterator[None]:
    token = _under_way.set(forward)
    try:
        yield
    finally:
        _under_way.reset(token)


def use_tree_attention(model: nn.Module) -> str | None:
    """Register the tree's attention beside the model's own; return the reason why it cannot be used, or None."""
    from transformers import PreTrainedModel

    _register()
    language_model = next((module for module in model.modules() if isinstance(module, PreTrainedModel)), None)
    if language_model is None:
        return f"{type(model).__name__} is no model of transformers"
    implementation = attention_implementation(language_model)
    if implementation.startswith(_PREFIX):
        return None
    if implementation not in _WRAPPED:
        return f"it replaces the attention implementations sdpa and eager, and the model has {implementation!r}"
    with log_level("transformers", logging.ERROR):
        language_model.set_attn_implementation(_PREFIX + implementation)
    if attention_implementation(language_model) == implementation:
        return f"{type(language_model).__name__} does not use transformers' attention interface"
    return None


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, *args: Any, own: str, **more: Any
) -> tuple[Tensor, Any]:
    """Attend under the signature that transformers calls; `own` is the implementation that the model had.

    As torch's own attention does under autocast, a tree's rounds first: RoPE leaves float32 queries beside bf16 values.
    Compiled layers do so in their kernels, and get gradients as they want them: tokens first, without gaps.
    """
    if not isinstance(attention_mask, TreeMask):
        return _own(module, query, key, value, attention_mask, *args, own=own, **more)
    dtype = compute_dtype(query)
    rows = (query.to(dtype).transpose(1, 2), key.to(dtype).transpose(1, 2), value.to(dtype).transpose(1, 2))
    return _in_tree(module, *rows, attention_mask, *args, **more)


@torch.compiler.disable
def _own(
    module: nn.Module, *args: Any, own: str, scaling: float | None = None, dropout: float = 0.0, **more: Any
) -> Any:
    if _under_way.get() is not None:
        raise TreeError(f"{type(module).__name__} gets a mask that was not made for a tree")
    return own_attention(own, module)(module, *args, scaling=scaling, dropout=dropout, **more)


@torch.compiler.disable
def _in_tree(
    module: nn.Module,
    query: Float[Tensor, "R L H D"],
    key: Float[Tensor, "R L G D"],
    value: Float[Tensor, "R L G E"],
    mask: TreeMask,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[Tensor, Any]:
    if forward := _under_way.get():
        forward.attention_calls += 1
    if query.shape[:2] != mask.tree.position_ids.shape:
        raise TreeError(f"a row of {query.shape[1]} tokens was given to {type(module).__name__} beside another tree")
    if options.get("position_bias") is not None:
        raise TreeError(f"{type(module).__name__} adds a bias to its attention scores")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    softmax = Softmax(scale, dropout, options.get("softcap"), options.get("s_aux"))
    heads = (query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
    kernel = _kernel(heads[0], heads[2], mask, softmax)
    return kernel.attend(*heads, mask, softmax), None


def _kernel(query: Tensor, value: Tensor, mask: TreeMask, softmax: Softmax) -> Kernel:
    """Choose the fastest kernel that is exact here."""
    return next(kernel for kernel in _FASTEST_FIRST if kernel.fits(query, value, mask, softmax))


def _mask(*args: Any, own: str, mask_function: Any, **options: Any) -> Any:
    forward = _under_way.get()
    if forward is None:
        return own_mask(own)(*args, mask_function=mask_function, **options)
    # What lets transformers' own sdpa leave out the mask of a short sequence: below this length it is the causal one.
    causal_below = options.get("local_size") if options.get("allow_is_causal_skip") else None
    return TreeMask(mask_function, forward.tree, forward.tree.position_ids.device, causal_below or 0)


@cache
def _register() -> None:
    """Register both, once, and not at import, which would load transformers' models before any is asked for."""
    from transformers import AttentionInterface, AttentionMaskInterface

    for own in _WRAPPED:
        AttentionInterface.register(_PREFIX + own, partial(_attention, own=own))
        AttentionMaskInterface.register(_PREFIX + own, partial(_mask, own=own))
