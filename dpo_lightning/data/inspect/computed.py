"""Tokens that a model would compute for an epoch in each layout, and what the tree saves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dpo_lightning.data.batch_plans import ExamplePlan
from dpo_lightning.data.lengths import Lengths


class Computed(NamedTuple):
    """Tokens of an epoch.

    Attributes:
        padded: In padded rows, a row for each completion, in shuffled batches.
        grouped: The same, with examples of similar length in a batch.
        packed: Without padding, the prompt once for each completion.
        tree: Without padding, the prompt once.
    """

    padded: int
    grouped: int
    packed: int
    tree: int

    @property
    def speedup(self) -> float:
        """How many times fewer tokens the tree computes than padded rows; about the speed-up where tokens decide it."""
        return self.padded / self.tree if self.tree else 1.0


def tokens_computed(lengths: Lengths, batch_pairs: int, seed: int = 0) -> Computed:
    """Count the tokens of an epoch with at most so many examples in a batch."""
    if not len(lengths.prompt):
        return Computed(0, 0, 0, 0)
    tokens = lengths.tokens.tolist()
    padded, grouped = (
        _padded(lengths, ExamplePlan(tokens, batch_pairs, shuffle=True, group_by=group, seed=seed))
        for group in (None, lengths.longest.tolist())
    )
    packed = int((lengths.prompt * lengths.sequences + lengths.completions.sum(1)).sum())
    return Computed(padded, grouped, packed, int(lengths.tokens.sum()))


def _padded(lengths: Lengths, plan: ExamplePlan) -> int:
    longest, sequences = lengths.longest, lengths.sequences
    return sum(int(longest[batch].max() * sequences[batch].sum()) for (batch,) in plan.steps(0) if len(batch))


def histogram(lengths: np.ndarray, most_bins: int = 12) -> list[tuple[int, int, int]]:
    """Count lengths in bins of equal width, a round number: the first length of each, the last one, how many."""
    if not len(lengths):
        return []
    longest = int(lengths.max())
    width = next(step for step in _round_numbers() if longest < step * most_bins)
    counts = np.bincount(lengths // width, minlength=longest // width + 1)
    return [(place * width, (place + 1) * width - 1, int(count)) for place, count in enumerate(counts)]


def _round_numbers() -> list[int]:
    return [digit * 10**power for power in range(9) for digit in (1, 2, 5)]
