"""Causal attention over the runs of a tree, block by block: exact, and with little memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from dpo_lightning.attention.mask import Run

# Queries of a block. Causal blocks skip the keys after their last query; smaller ones make the matrix products small.
_BLOCK = 128


KEPT_BYTES = 2**24
"""Most memory that one layer's probabilities may hold until its backward: 16 MiB; beyond, all are computed again."""


class _Block(NamedTuple):
    """Queries ``row[start:end]`` and the slices that hold their keys, of which the queries are the last.

    A block that reaches from a chosen completion into the rejected one has its pair up to ``end`` as keys; queries from
    ``rejected`` on (counted in the block) must not see the keys of ``chosen`` (counted from the pair's start).
    """

    start: int
    end: int
    keys: tuple[slice, ...]
    rejected: int = 0
    chosen: slice = slice(0, 0)

    @property
    def queries(self) -> int:
        return self.end - self.start

    def gather(self, row: Float[Tensor, "G L D"]) -> Float[Tensor, "G K D"]:
        if len(self.keys) == 1:
            return row[:, self.keys[0]]
        return torch.cat([row[:, part] for part in self.keys], dim=1)

    def add(self, row: Float[Tensor, "G L D"], values: Float[Tensor, "G K D"]) -> None:
        """Add values of the block's keys to their places in the row."""
        sizes = [part.stop - part.start for part in self.keys]
        for part, part_values in zip(self.keys, values.split(sizes, dim=1), strict=True):
            row[:, part] += part_values


class _BlockedAttention(torch.autograd.Function):
    """Scores are computed in float32; their probabilities are kept in the dtype of the values while they are small."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, blocks: Sequence[_Block], scale: float
    ) -> Float[Tensor, "1 L H D"]:
        ctx.save_for_backward(query, key, value)
        ctx.blocks, ctx.scale = blocks, scale
        keep = any(ctx.needs_input_grad) and _size(query, blocks) <= KEPT_BYTES
        ctx.kept = []
        wide = _Wide(query, key, scale)
        out = query.new_empty(1, query.shape[2], query.shape[1], value.shape[-1])
        for block in blocks:
            probabilities = wide.probabilities(block)
            out[0, block.start : block.end] = _per_head(torch.bmm(probabilities, block.gather(value[0])), block.queries)
            if keep:
                ctx.kept.append(probabilities)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        with torch.autocast(grad_out.device.type, enabled=False):
            query, key, value = ctx.saved_tensors
            probabilities = ctx.kept or map(_Wide(query, key, ctx.scale).probabilities, ctx.blocks)
            blocks = zip(ctx.blocks, probabilities, strict=True)
            return (*_gradients(query, key, value, blocks, ctx.scale, grad_out), None, None)


def _gradients(
    query: Tensor, key: Tensor, value: Tensor, blocks: Iterable[tuple[_Block, Tensor]], scale: float, grad_out: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    groups = key.shape[1]
    grad_query = query.new_empty(query.transpose(1, 2).shape)
    grad_key, grad_value = torch.zeros_like(key[0]), torch.zeros_like(value[0])
    for block, probabilities in blocks:
        grads = _grouped(grad_out[0, block.start : block.end].transpose(0, 1), groups)
        grad_probabilities = torch.bmm(grads, block.gather(value[0]).transpose(1, 2))
        # d softmax: p * (dp - sum(p * dp))
        grad_scores = torch._softmax_backward_data(grad_probabilities, probabilities, -1, query.dtype)
        block_grad = torch.bmm(grad_scores, block.gather(key[0]))
        grad_query[0, block.start : block.end] = _per_head(block_grad, block.queries)
        queries = _grouped(query[0, :, block.start : block.end], groups)
        block.add(grad_key, torch.bmm(grad_scores.transpose(1, 2), queries))
        block.add(grad_value, torch.bmm(probabilities.transpose(1, 2), grads))
    return grad_query.mul_(scale).transpose(1, 2), grad_key.mul_(scale)[None], grad_value[None]


class _Wide:
    """Queries, already scaled, and keys in the precision of the scores."""

    def __init__(self, query: Tensor, key: Tensor, scale: float) -> None:
        self.dtype = query.dtype
        wide = torch.promote_types(query.dtype, torch.float32)
        self.query, self.key = query[0].to(wide) * scale, key[0].to(wide)
        self.future = _future(wide, query.device)

    def probabilities(self, block: _Block) -> Float[Tensor, "G HQ K"]:
        """The block's attention to its keys, in the dtype of the values."""
        queries = _grouped(self.query[:, block.start : block.end], len(self.key))
        scores = torch.bmm(queries, block.gather(self.key).transpose(1, 2))
        per_query = scores.unflatten(1, (-1, block.queries))
        per_query[..., -block.queries :] += self.future[: block.queries, : block.queries]
        if block.rejected:
            per_query[..., block.rejected :, block.chosen] = -torch.inf
        return torch.softmax(scores, -1).to(self.dtype)


def blocked_attention(
    query: Float[Tensor, "1 H L D"],
    key: Float[Tensor, "1 G L D"],
    value: Float[Tensor, "1 G L E"],
    runs: Sequence[Run],
    scale: float,
) -> Float[Tensor, "1 L H E"]:
    """``softmax(scale x query @ key^T) @ value`` over the runs of a row, each causal, its queries its last keys.

    ``H`` query heads share ``G`` key and value heads in groups of ``H / G``, which are never expanded. Any floating
    dtype; scores and softmax are float32 at least. Memory: a block of scores, ``H x 128 x K``, and up to
    :data:`KEPT_BYTES` of probabilities until the backward.
    """
    with torch.autocast(query.device.type, enabled=False):
        return _BlockedAttention.apply(query, key, value, list(_blocks(runs)), scale)


def _blocks(runs: Sequence[Run]) -> Iterator[_Block]:
    """Cut the queries of each run; a rejected run joins its pair's last block where there is room."""
    for chosen_run, rejected_run in zip(runs[::2], runs[1::2], strict=True):
        *before, last = _cut(chosen_run)
        yield from before
        if rejected_run.end - last.start > _BLOCK:
            yield last
            yield from _cut(rejected_run)
            continue
        first, end_of_prompt = chosen_run.start, rejected_run.keys[0].stop
        chosen = slice(end_of_prompt - first, chosen_run.end - first)
        keys = (slice(first, rejected_run.end),)
        yield _Block(last.start, rejected_run.end, keys, chosen_run.end - last.start, chosen)


def _cut(run: Run) -> Iterator[_Block]:
    for start in range(run.start, run.end, _BLOCK):
        end = min(start + _BLOCK, run.end)
        *before, last = run.keys
        yield _Block(start, end, (*before, slice(last.start, end)))


def _size(query: Tensor, blocks: Sequence[_Block]) -> int:
    """Bytes of all probabilities in the query's dtype."""
    keys = ((block, sum(part.stop - part.start for part in block.keys)) for block in blocks)
    return query.shape[1] * query.element_size() * sum(block.queries * count for block, count in keys)


def _grouped(heads_first: Float[Tensor, "H Q D"], groups: int) -> Float[Tensor, "G HQ D"]:
    """The query heads that share keys, one after the other."""
    return heads_first.unflatten(0, (groups, -1)).flatten(1, 2)


def _per_head(grouped: Float[Tensor, "G HQ D"], queries: int) -> Float[Tensor, "Q H D"]:
    return grouped.reshape(-1, queries, grouped.shape[-1]).transpose(0, 1)


@lru_cache
def _future(dtype: torch.dtype, device: torch.device) -> Float[Tensor, "B B"]:
    """What hides the later tokens of a block from its earlier ones."""
    return torch.full((_BLOCK, _BLOCK), -torch.inf, dtype=dtype, device=device).triu_(1)
