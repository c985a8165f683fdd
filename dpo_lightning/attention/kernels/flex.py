"""Attention of a tree with a soft-cap, sinks or in float32 on CUDA, causal or windowed: torch's FlexAttention."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, no_type_check

import torch
import torch.nn.attention.flex_attention as torch_flex
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from lightning.pytorch.utilities import move_data_to_device
from torch import Tensor

from dpo_lightning.attention.kernels import Kernel, Softmax
from dpo_lightning.attention.mask import TreeMask
from dpo_lightning.batch import TokenizedExample, TreeLayout, collate_tree
from dpo_lightning.compat.torch import compiled
from dpo_lightning.utils.text import one_line

_logger = logging.getLogger(__name__)

# Queries and keys of a block that is computed or skipped as a whole: FlexAttention's own size.
_BLOCK = 128
# Triton's products have 16 columns at least; beyond 256, a block of queries and keys exceeds a multiprocessor's memory.
_LEAST_HEAD_DIM, _MOST_HEAD_DIM = 16, 256
_DTYPES = (torch.float16, torch.bfloat16, torch.float32)


class _Heads(NamedTuple):
    """Heads and softmax that a kernel is compiled for."""

    device: torch.device
    dtype: torch.dtype
    query_heads: int
    key_heads: int
    width: int
    value_width: int
    softcap: float | None
    sinks: torch.dtype | None


class _Sight(NamedTuple):
    """Keys that each query sees, as two ranges of the row, int32: `[own, query]` and `[prompt, prompt_end)`."""

    own: Int[Tensor, " L"]
    prompt: Int[Tensor, " L"]
    prompt_end: Int[Tensor, " L"]


def flex_fits(query: Tensor, value: Tensor, mask: TreeMask, softmax: Softmax) -> bool:
    """Return whether the rule is causal or a window, nothing is dropped out, and FlexAttention runs on such tensors.

    The first question for a kind of heads compiles the kernel, which takes seconds.
    """
    (_, query_heads, _, width), (_, key_heads, _, value_width) = query.shape, value.shape
    takes = query.is_cuda and query.dtype in _DTYPES and max(width, value_width) <= _MOST_HEAD_DIM
    if not takes or softmax.dropout or mask.reach is None:
        return False
    sinks = None if softmax.sinks is None else softmax.sinks.dtype
    heads = _Heads(query.device, query.dtype, query_heads, key_heads, width, value_width, softmax.softcap, sinks)
    return _runs(heads)


def flex_attention(
    query: Float[Tensor, "1 H L D"],
    key: Float[Tensor, "1 G L D"],
    value: Float[Tensor, "1 G L E"],
    mask: TreeMask,
    softmax: Softmax,
) -> Float[Tensor, "1 L H E"]:
    """Attend within the row itself: no key is copied, and blocks of keys that no query of a block sees are skipped.

    Scores and softmax are float32. Nothing grows with the square of a length but the list of blocks, `(L / 128)^2`
    integers, made once a batch and window. On a CPU the scores of the whole row are held, which is for tests.
    """
    attend = _compiled() if query.is_cuda else _attend
    with torch.autocast(query.device.type, enabled=False):
        query, key, padded = (_wide_enough(part) for part in (query, key, value))
        blocks = mask.once(_block_mask, mask.reach)
        output: Tensor = attend(query, key, padded, blocks, softmax.scale, softmax.softcap, softmax.sinks)
    return output[..., : value.shape[-1]].transpose(1, 2)


FLEX = Kernel(flex_fits, flex_attention)


def _wide_enough(part: Tensor) -> Tensor:
    """Fill a small head dimension up with zeros, which change no score and no output."""
    missing = _LEAST_HEAD_DIM - part.shape[-1]
    return F.pad(part, (0, missing)) if missing > 0 else part


@no_type_check  # compiled as a whole, it has no room for a checker; what FlexAttention gets are lambdas for that reason
def _attend(
    query: Tensor, key: Tensor, value: Tensor, blocks: Any, scale: float, softcap: float | None, sinks: Tensor | None
) -> Tensor:
    """Attend; a sink of score `s` beside keys with the log-sum `l` leaves them `sigmoid(l - s)` of the probability."""
    output, aux = torch_flex.flex_attention(
        query,
        key,
        value,
        score_mod=None if softcap is None else lambda score, _, __, ___, ____: softcap * torch.tanh(score / softcap),
        block_mask=blocks,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
        return_aux=torch_flex.AuxRequest(lse=True),
    )
    if sinks is None:
        return output
    share = torch.sigmoid(aux.lse - sinks[:, None].to(aux.lse.dtype))
    return (output * share[..., None]).to(output.dtype)


@cache
def _compiled() -> Callable[..., Any]:
    return compiled(_attend)


@cache
def _runs(heads: _Heads) -> bool:
    """Try two small trees, since the second length compiles for every length.

    FlexAttention needs a compiler, and memory on the multiprocessor that depends on the heads.
    """
    try:
        for prompt in (200, 400):
            _try(heads, TokenizedExample.pair(0, [1] * prompt, [1] * 60, [1] * 90))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a compiler may raise anything
        _logger.warning(
            "FlexAttention does not run here: %s. Attention with a soft-cap, sinks or in float32 is slower and may "
            "take much more memory: look at the versions of torch and triton, and for a C compiler",
            one_line(error, 200),
        )
        return False
    return True


@torch.inference_mode(False)
@torch.enable_grad()
def _try(heads: _Heads, example: TokenizedExample) -> None:
    """Attend forward and backward, with zeros, so that nothing is drawn."""
    tree = move_data_to_device(collate_tree([example]), heads.device).tree
    sizes = (heads.query_heads, heads.width), (heads.key_heads, heads.width), (heads.key_heads, heads.value_width)
    length = tree.position_ids.shape[1]
    query, key, value = (
        torch.zeros(1, count, length, width, device=heads.device, dtype=heads.dtype, requires_grad=True)
        for count, width in sizes
    )
    sinks = None if heads.sinks is None else query.new_zeros(heads.query_heads, dtype=heads.sinks)
    softmax = Softmax(1.0, softcap=heads.softcap, sinks=sinks)
    mask = TreeMask(lambda _, __, query, key: key <= query, tree, heads.device)
    flex_attention(query, key, value, mask, softmax).sum().backward()


def _block_mask(tree: TreeLayout, reach: float) -> torch_flex.BlockMask:
    """Return which blocks of keys each block of queries sees in part or in whole, without a table of single tokens."""
    own, prompt, prompt_end = _sight(tree, reach)
    some, whole = _blocks(_Sight(own, prompt, prompt_end))
    length = len(own)
    return torch_flex.BlockMask.from_kv_blocks(
        *_listed(some & ~whole),
        *_listed(whole),
        BLOCK_SIZE=_BLOCK,
        mask_mod=lambda _, __, query, key: (
            ((own[query] <= key) & (key <= query)) | ((prompt[query] <= key) & (key < prompt_end[query]))
        ),
        seq_lengths=(length, length),
    )


def _sight(tree: TreeLayout, reach: float) -> _Sight:
    """Return what each query sees, on the device of the tree and without waiting for it.

    A query at position `n` sees the positions `n - reach + 1 .. n` of its sequence. The first run of an example has the
    prompt among its own keys, and nothing before them.
    """
    position = tree.position_ids[0].int()
    place = torch.arange(len(position), device=position.device, dtype=torch.int32)
    run = torch.searchsorted(tree.query_offsets, place, right=True) - 1
    before = min(reach, len(position)) - 1
    prompts = tree.key_offsets.diff() - tree.query_offsets.diff()
    first_key = tree.key_index[tree.key_offsets[:-1]].int()[run]
    return _Sight(
        own=torch.maximum(tree.query_offsets[run], place - before),
        prompt=first_key + (position - before).clamp(min=0),
        prompt_end=first_key + prompts[run],
    )


def _blocks(sight: _Sight) -> tuple[Bool[Tensor, "B B"], Bool[Tensor, "B B"]]:
    """Return which blocks of keys are seen by some query of a block, and which by all in whole; `L x B` in between."""
    length = len(sight.own)
    count = math.ceil(length / _BLOCK)
    place = torch.arange(count * _BLOCK, device=sight.own.device, dtype=torch.int32)
    # A place behind the row sees nothing, so that no block that reaches beyond the row is whole.
    own = F.pad(sight.own, (0, len(place) - length), value=len(place))[:, None]
    prompt, prompt_end = (F.pad(part, (0, len(place) - length))[:, None] for part in sight[1:])
    first, last, query = place[::_BLOCK], place[_BLOCK - 1 :: _BLOCK], place[:, None]
    some = (own <= last) & (query >= first) & (own <= query)
    some |= (prompt <= last) & (prompt_end > first) & (prompt < prompt_end)
    whole = (own <= first) & (query >= last)
    whole |= (prompt <= first) & (prompt_end > last)
    return some.unflatten(0, (count, _BLOCK)).any(1), whole.unflatten(0, (count, _BLOCK)).all(1)


def _listed(blocks: Bool[Tensor, "B B"]) -> tuple[Int[Tensor, "1 1 B"], Int[Tensor, "1 1 B B"]]:
    """Return the number of blocks of each row, and their columns first among all."""
    number = blocks.sum(-1, dtype=torch.int32)
    columns = blocks.int().argsort(dim=-1, descending=True, stable=True).int()
    return number[None, None], columns[None, None]
