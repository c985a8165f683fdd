"""Causal attention over the runs of a tree, block by block: exact, and with little memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from dpo_lightning.attention.kernels import Kernel, Softmax
from dpo_lightning.attention.mask import Run, TreeMask, runs_of
from dpo_lightning.batch import TreeLayout
from dpo_lightning.compat.torch import softmax_gradient

# Queries of a block. Causal blocks skip the keys after their last query; smaller ones make the matrix products small.
_BLOCK = 128

KEPT_BYTES = 2**24
"""Most memory that one layer's probabilities may hold until its backward: 16 MiB; beyond, all are computed again."""


class _Block(NamedTuple):
    """Neighbouring queries of a run, and the keys up to the last of them.

    A block may reach from one branch of a prompt into the next ones. For each branch that it leaves, `hidden` says from
    which query on (counted in the block) the keys of that branch (counted in the block's keys) must not be seen.
    """

    run: Run
    hidden: tuple[tuple[int, slice], ...] = ()


class _BlockedAttention(torch.autograd.Function):
    """Attention block by block: scores in float32, probabilities kept in the values' dtype while they are small."""

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
            probabilities, run = wide.probabilities(block), block.run
            out[0, run.start : run.end] = _per_head(torch.bmm(probabilities, run.gather(value[0])), run.queries)
            if keep:
                ctx.kept.append(probabilities)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        with torch.autocast(grad_out.device.type, enabled=False):
            query, key, value = ctx.saved_tensors
            probabilities = ctx.kept or map(_Wide(query, key, ctx.scale).probabilities, ctx.blocks)
            runs = zip((block.run for block in ctx.blocks), probabilities, strict=True)
            return (*_gradients(query, key, value, runs, ctx.scale, grad_out), None, None)


def _gradients(
    query: Tensor, key: Tensor, value: Tensor, runs: Iterable[tuple[Run, Tensor]], scale: float, grad_out: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    groups = key.shape[1]
    grad_query = query.new_empty(query.transpose(1, 2).shape)
    grad_key, grad_value = torch.zeros_like(key[0]), torch.zeros_like(value[0])
    for run, probabilities in runs:
        grads = _grouped(grad_out[0, run.start : run.end].transpose(0, 1), groups)
        grad_probabilities = torch.bmm(grads, run.gather(value[0]).transpose(1, 2))
        grad_scores = softmax_gradient(grad_probabilities, probabilities, query.dtype)
        run_grad = torch.bmm(grad_scores, run.gather(key[0]))
        grad_query[0, run.start : run.end] = _per_head(run_grad, run.queries)
        queries = _grouped(query[0, :, run.start : run.end], groups)
        _add(grad_key, run, torch.bmm(grad_scores.transpose(1, 2), queries))
        _add(grad_value, run, torch.bmm(probabilities.transpose(1, 2), grads))
    return grad_query.mul_(scale).transpose(1, 2), grad_key.mul_(scale)[None], grad_value[None]


class _Wide:
    """Queries, already scaled, and keys in the precision of the scores."""

    def __init__(self, query: Tensor, key: Tensor, scale: float) -> None:
        self.dtype = query.dtype
        wide = torch.promote_types(query.dtype, torch.float32)
        self.query, self.key = query[0].to(wide) * scale, key[0].to(wide)
        self.future = _future(wide, query.device)

    def probabilities(self, block: _Block) -> Float[Tensor, "G HQ K"]:
        """Return the block's attention to its keys, in the dtype of the values."""
        run = block.run
        queries = _grouped(self.query[:, run.start : run.end], len(self.key))
        scores = torch.bmm(queries, run.gather(self.key).transpose(1, 2))
        per_query = scores.unflatten(1, (-1, run.queries))
        per_query[..., -run.queries :] += self.future[: run.queries, : run.queries]
        for first, keys in block.hidden:
            per_query[..., first:, keys] = -torch.inf
        return torch.softmax(scores, -1).to(self.dtype)


def blocked_fits(query: Tensor, value: Tensor, mask: TreeMask, softmax: Softmax) -> bool:
    """Return whether the rule is causal and the softmax plain."""
    return softmax.is_plain and mask.is_causal


def blocked_attention(
    query: Float[Tensor, "1 H L D"],
    key: Float[Tensor, "1 G L D"],
    value: Float[Tensor, "1 G L E"],
    mask: TreeMask,
    softmax: Softmax,
) -> Float[Tensor, "1 L H E"]:
    """Attend over the runs of a row, each causal, its queries its last keys.

    Shared heads are never expanded. Any floating dtype; scores and softmax are float32 at least. Memory: a block of
    scores, `H x 128 x K`, and up to `KEPT_BYTES` of probabilities until the backward.
    """
    with torch.autocast(query.device.type, enabled=False):
        return _BlockedAttention.apply(query, key, value, mask.once(_blocks_of), softmax.scale)


BLOCKED = Kernel(blocked_fits, blocked_attention)


def _blocks_of(tree: TreeLayout) -> list[_Block]:
    return list(_blocks(runs_of(tree)))


def _blocks(runs: Sequence[Run]) -> Iterator[_Block]:
    """Cut the queries of each run; a further branch joins its prompt's last block where there is room."""
    *before, block = map(_Block, _cut(runs[0]))
    yield from before
    for previous, run in pairwise(runs):
        if not run.opens and run.end - block.run.start <= _BLOCK:
            block = _joined(block, previous, run)
            continue
        yield block
        *before, block = map(_Block, _cut(run))
        yield from before
    yield block


def _joined(block: _Block, previous: Run, run: Run) -> _Block:
    """Extend a block that ends with one branch by the next branch, whose queries do not see the first."""
    *before, last = block.run.keys
    branch = run.keys[0].stop if previous.opens else previous.start
    offset = sum(part.stop - part.start for part in before) - last.start
    hidden = run.start - block.run.start, slice(offset + branch, offset + run.start)
    keys = (*before, slice(last.start, run.end))
    return _Block(Run(block.run.start, run.end, keys), (*block.hidden, hidden))


def _cut(run: Run) -> Iterator[Run]:
    for start in range(run.start, run.end, _BLOCK):
        end = min(start + _BLOCK, run.end)
        *before, last = run.keys
        yield Run(start, end, (*before, slice(last.start, end)))


def _size(query: Tensor, blocks: Sequence[_Block]) -> int:
    """Return the bytes of all probabilities in the query's dtype."""
    return query.shape[1] * query.element_size() * sum(block.run.queries * block.run.length for block in blocks)


def _add(row: Float[Tensor, "G L D"], run: Run, values: Float[Tensor, "G K D"]) -> None:
    """Add values of the run's keys to their places in the row."""
    sizes = [part.stop - part.start for part in run.keys]
    for part, part_values in zip(run.keys, values.split(sizes, dim=1), strict=True):
        row[:, part] += part_values


def _grouped(heads_first: Float[Tensor, "H Q D"], groups: int) -> Float[Tensor, "G HQ D"]:
    """Put the query heads that share keys one after the other."""
    return heads_first.unflatten(0, (groups, -1)).flatten(1, 2)


def _per_head(grouped: Float[Tensor, "G HQ D"], queries: int) -> Float[Tensor, "Q H D"]:
    return grouped.reshape(-1, queries, grouped.shape[-1]).transpose(0, 1)


@lru_cache
def _future(dtype: torch.dtype, device: torch.device) -> Float[Tensor, "B B"]:
    """Return the mask that hides the later tokens of a block from its earlier ones: -inf above the diagonal, else 0."""
    return torch.full((_BLOCK, _BLOCK), -torch.inf, dtype=dtype, device=device).triu_(1)
