"""Causal attention over the runs of a tree, block by block: exact, with memory for one block of scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from dpo_lightning.attention.mask import Run

# Queries of a block. Causal blocks skip the keys after their last query; smaller ones make the matrix products small.
_BLOCK = 128


class _BlockedAttention(torch.autograd.Function):
    """Scores are computed in float32, twice: the backward computes a block's probabilities again."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, runs: Sequence[Run], scale: float
    ) -> Float[Tensor, "1 L H D"]:
        ctx.save_for_backward(query, key, value)
        ctx.runs, ctx.scale = runs, scale
        row, heads = query.shape[2], query.shape[1]
        out = query.new_empty(1, row, heads, value.shape[-1])
        for block in _blocks(runs):
            keys, values = block.gather(key[0]), block.gather(value[0])
            _, probabilities = _probabilities(query, keys, block, scale)
            mixed = torch.bmm(probabilities, values)
            out[0, block.start : block.end] = _per_head(mixed, heads, block.queries)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        with torch.autocast(grad_out.device.type, enabled=False):
            return (*_BlockedAttention._gradients(ctx, grad_out), None, None)

    @staticmethod
    def _gradients(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = ctx.saved_tensors
        heads, scale = query.shape[1], ctx.scale
        grad_query = query.new_empty(query.transpose(1, 2).shape)
        grad_key, grad_value = torch.zeros_like(key[0]), torch.zeros_like(value[0])
        for block in _blocks(ctx.runs):
            keys, values = block.gather(key[0]), block.gather(value[0])
            queries, probabilities = _probabilities(query, keys, block, scale)
            grads = _grouped(grad_out[0, block.start : block.end].transpose(0, 1), len(keys))
            grad_probabilities = torch.bmm(grads, values.transpose(1, 2))
            # d softmax: p * (dp - sum(p * dp))
            grad_scores = torch._softmax_backward_data(grad_probabilities, probabilities, -1, query.dtype)
            block_grad = torch.bmm(grad_scores, keys).mul_(scale)
            grad_query[0, block.start : block.end] = _per_head(block_grad, heads, block.queries)
            _add(grad_key, torch.bmm(grad_scores.transpose(1, 2), queries).mul_(scale), block)
            _add(grad_value, torch.bmm(probabilities.transpose(1, 2), grads), block)
        return grad_query.transpose(1, 2), grad_key[None], grad_value[None]


def blocked_attention(
    query: Float[Tensor, "1 H L D"],
    key: Float[Tensor, "1 G L D"],
    value: Float[Tensor, "1 G L E"],
    runs: Sequence[Run],
    scale: float,
) -> Float[Tensor, "1 L H E"]:
    """``softmax(scale x query @ key^T) @ value`` over the runs of a row, each causal, its queries its last keys.

    ``H`` query heads share ``G`` key and value heads in groups of ``H / G``, which are never expanded. Any floating
    dtype; scores and softmax are float32 at least. Peak memory is one block of scores: ``H x 128 x K``.
    """
    with torch.autocast(query.device.type, enabled=False):
        return _BlockedAttention.apply(query, key, value, runs, scale)


def _blocks(runs: Sequence[Run]) -> Iterator[Run]:
    """Cut the queries of each run, and its keys after the last query of the piece."""
    for run in runs:
        for start in range(run.start, run.end, _BLOCK):
            end = min(start + _BLOCK, run.end)
            *before, last = run.keys
            yield Run(start, end, (*before, slice(last.start, end)))


def _grouped(heads_first: Float[Tensor, "H Q D"], groups: int) -> Float[Tensor, "G HQ D"]:
    """The query heads that share keys, one after the other."""
    return heads_first.unflatten(0, (groups, -1)).flatten(1, 2)


def _per_head(grouped: Float[Tensor, "G HQ D"], heads: int, queries: int) -> Float[Tensor, "Q H D"]:
    return grouped.reshape(heads, queries, -1).transpose(0, 1)


def _probabilities(query: Tensor, keys: Float[Tensor, "G K D"], block: Run, scale: float) -> tuple[Tensor, Tensor]:
    """The block's queries ``[G, HQ, D]`` and their attention to its keys ``[G, HQ, K]``, in the query's dtype."""
    queries = _grouped(query[0, :, block.start : block.end], len(keys))
    wide = torch.promote_types(query.dtype, torch.float32)
    scores = torch.bmm(queries.to(wide) * scale, keys.to(wide).transpose(1, 2))
    own = scores.unflatten(1, (-1, block.queries))[..., -block.queries :]
    own += _future(wide, query.device)[: block.queries, : block.queries]
    return queries, torch.softmax(scores, -1).to(query.dtype)


@lru_cache
def _future(dtype: torch.dtype, device: torch.device) -> Float[Tensor, "B B"]:
    """What hides the later tokens of a block from its earlier ones."""
    return torch.full((_BLOCK, _BLOCK), -torch.inf, dtype=dtype, device=device).triu_(1)


def _add(row: Float[Tensor, "G L D"], block_values: Float[Tensor, "G K D"], block: Run) -> None:
    """Add values of the block's keys to their places in the row."""
    sizes = [part.stop - part.start for part in block.keys]
    for part, values in zip(block.keys, block_values.split(sizes, dim=1), strict=True):
        row[:, part] += values
