"""Counts of what batches held: examples, tokens, and what attention costs for them."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from dpo_lightning.batch import PreferenceBatch


class Counts(NamedTuple):
    """Examples and tokens of batches; padding is none of them. Nothing here waits for the device.

    Attributes:
        examples: Pairs, lists, or prompts with labelled completions.
        tokens: `L`, tokens that the model saw: a number, of padded rows one in a tensor on their device, 0-d.
        scored: `N`, tokens whose log-prob counted.
        attended: `A`, pairs of a query and a key that it saw, alike: half of each sequence, a tree's prompt once.
    """

    examples: int = 0
    tokens: Any = 0
    scored: int = 0
    attended: Any = 0.0

    @property
    def accumulate(self) -> int:
        """1: what accumulates is counted already."""
        return 1

    @classmethod
    def of(cls, batch: PreferenceBatch) -> Counts:
        """Count a batch: a packed row on the host, padded rows by what is known of their ends on the device."""
        tokens, attended = _row(batch) if batch.tree is not None else _rows(batch)
        return cls(batch.examples, tokens, len(batch.targets), attended)

    def plus(self, other: Counts) -> Counts:
        """Return the counts of both."""
        return Counts(*(ours + theirs for ours, theirs in zip(self, other, strict=True)))


def _row(batch: PreferenceBatch) -> tuple[float, float]:
    tokens, attended = 0, 0.0
    for prompt, branches in batch.tree.segments if batch.tree is not None else ():
        tokens += prompt + sum(branches)
        attended += prompt**2 / 2 + sum(length * prompt + length**2 / 2 for length in branches)
    return tokens, attended


def _rows(batch: PreferenceBatch) -> tuple[float | Tensor, float | Tensor]:
    if batch.row_ends is None:  # a batch of somebody else's collate function
        rows, width = batch.input_ids.shape
        return rows * width, rows * width**2 / 2
    ends = batch.row_ends[1].float()
    return ends.sum(), ends.square().sum() / 2
