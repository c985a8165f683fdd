"""The fate of examples: kept, or dropped for a reason that the report says."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from dpo_lightning.batch import TokenizedExample
from dpo_lightning.data.tokenize.boundary import Boundary


class Outcome(IntEnum):
    """Fate of an example; everything but `KEPT` is dropped and counted."""

    KEPT = 0
    EMPTY_COMPLETION = 1
    EMPTY_PROMPT = 2
    NO_ROOM = 3
    IDENTICAL = 4
    NOTHING_COUNTS = 5
    NO_PREFERENCE = 6

    @property
    def reason(self) -> str:
        """The words of the report."""
        return {
            Outcome.KEPT: "kept",
            Outcome.EMPTY_COMPLETION: "with an empty completion",
            Outcome.EMPTY_PROMPT: "with an empty prompt and no BOS token",
            Outcome.NO_ROOM: "whose prompt fills max_length",
            Outcome.IDENTICAL: "whose completions are identical after truncation",
            Outcome.NOTHING_COUNTS: "with a completion of which no token counts (data.scored)",
            Outcome.NO_PREFERENCE: "without a preference",
        }[self]


REPEATS = "have completions of the same tokens, which no policy ranks"
"""Words of the report about lists that have `Encoded.repeats`."""


class Encoded(NamedTuple):
    """An example as token ids, what became of it, whether anything was cut off, and how its prompt ends."""

    example: TokenizedExample
    outcome: Outcome
    truncated: bool
    boundary: Boundary = Boundary.CLEAN

    @property
    def repeats(self) -> bool:
        """True for a list that is kept and has completions of the same tokens, which no policy tells apart."""
        ids = self.example.completion_ids
        is_list = self.outcome == Outcome.KEPT and self.example.labels is None and len(ids) > 2
        return is_list and len({*map(tuple, ids)}) < len(ids)


def outcome_of(example: TokenizedExample, *, empty: bool) -> Outcome:
    """Return what becomes of an example; `empty` is whether a completion of its says nothing."""
    if empty:
        return Outcome.EMPTY_COMPLETION
    if not example.prompt_ids:
        return Outcome.EMPTY_PROMPT
    first, *others = example.completion_ids
    if not first:
        return Outcome.NO_ROOM
    if others and all(first == other for other in others):
        return Outcome.IDENTICAL
    return Outcome.KEPT if all(map(any, example.scored_branches)) else Outcome.NOTHING_COUNTS
