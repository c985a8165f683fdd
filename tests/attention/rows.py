"""Rows of random heads under a tree, and what each query of them may see, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dpo_lightning.attention.mask import TreeMask
from dpo_lightning.attention.rules import Rule
from dpo_lightning.batch import TokenizedExample, TreeLayout, collate_tree

Segments = Sequence[tuple[int, ...]]
CPU = torch.device("cpu")
SHORT = ((5, 3, 4), (2, 1, 1), (1, 6, 2))
"""Prompt, chosen, rejected: completions of one token and a prompt of one token among them."""
ONE_SIDED = ((5, 3, 0), (2, 1, 1), (1, 6, 0))
"""With rejected completions that have no tokens."""
RAGGED = ((5, 3, 4, 2), (2, 1), (1, 6, 2, 1, 3), (3, 0, 2, 0, 1))
"""Prompt and any number of branches, some of them without tokens."""


class Heads(NamedTuple):
    """Queries ``[1, H, L, D]``, keys ``[1, G, L, D]`` and values ``[1, G, L, E]``."""

    query: Tensor
    key: Tensor
    value: Tensor

    def to(self, dtype: torch.dtype) -> Heads:
        return Heads(*(tensor.detach().to(dtype).requires_grad_() for tensor in self))


def tree_of(segments: Segments) -> TreeLayout:
    tree = collate_tree([TokenizedExample(0, [1] * p, [[1] * c for c in branches]) for p, *branches in segments]).tree
    assert tree is not None
    return tree


def heads(
    segments: Segments, query_heads: int = 4, groups: int = 2, width: int = 8, value_width: int | None = None
) -> Heads:
    """Float64, with scores of about 3."""
    length = sum(map(sum, segments))
    sizes = (query_heads, length, width), (groups, length, width), (groups, length, value_width or width)
    return Heads(*(2 * torch.randn(1, *size, dtype=torch.float64) for size in sizes)).to(torch.float64)


def causal(_: Any, __: Any, query: Any, key: Any) -> Any:
    return key <= query


def window(size: int) -> Rule:
    return lambda _, __, query, key: (key <= query) & (key > query - size)


def chunk(size: int) -> Rule:
    return lambda _, __, query, key: (key <= query) & (key // size == query // size)


def mask_of(segments: Segments, rule: Rule = causal) -> TreeMask:
    return TreeMask(rule, tree_of(segments), CPU)


def visible(segments: Segments, rule: Rule = causal) -> Tensor:
    """``[L, L]``, token by token: same pair, same branch or prompt, and the rule in logical positions."""
    tokens = [
        (pair, branch, offset + place)
        for pair, (prompt, *branches) in enumerate(segments)
        for branch, offset, count in (
            (0, 0, prompt),
            *((k, prompt, count) for k, count in enumerate(branches, start=1)),
        )
        for place in range(count)
    ]
    pair, branch, position = torch.tensor(tokens).T
    zero = torch.tensor(0)
    same_pair = pair[:, None] == pair
    in_sight = (branch == 0) | (branch[:, None] == branch)
    return same_pair & in_sight & rule(zero, zero, position[:, None], position)


def dense(
    rows: Heads, seen: Tensor, scale: float, *, softcap: float | None = None, sinks: Tensor | None = None
) -> Tensor:
    """One masked softmax over the whole row, float64: ``[1, L, H, E]``."""
    query, key, value = (tensor[0].double() for tensor in rows)
    share = len(query) // len(key)
    scores = scale * query @ key.repeat_interleave(share, 0).transpose(1, 2)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~seen, -torch.inf)
    if sinks is not None:
        scores = torch.cat([scores, sinks[:, None, None].double().expand(-1, len(seen), 1)], -1)
    probabilities = scores.softmax(-1)[..., : len(seen)]
    return (probabilities @ value.repeat_interleave(share, 0)).transpose(0, 1)[None]


def assert_same(
    found: Tensor, expected: Tensor, leaves: Sequence[Tensor], bound: float, expected_leaves: Sequence[Tensor] = ()
) -> None:
    """Outputs and the gradients of a weighted sum of them differ by less than ``bound`` of their norm."""
    weights = torch.randn_like(expected)
    ours = torch.autograd.grad((found * weights).sum(), leaves)
    theirs = torch.autograd.grad((expected * weights).sum(), expected_leaves or leaves)
    for one, other in zip((found, *ours), (expected, *theirs), strict=True):
        assert relative(one, other) < bound


def relative(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    return ((found.double() - expected.double()).norm() / expected.double().norm()).item()
