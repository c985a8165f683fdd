"""Examples that were read at once: their tokens are in arrays, and nobody makes lists of them to collate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, overload

import numpy as np

from dpo_lightning.batch.columns import ColumnValue
from dpo_lightning.batch.types import TokenizedExample


class ExampleRows(Sequence[TokenizedExample]):
    """A sequence of examples without masks and mismatched completions; lists of ids are made when one is asked for.

    Args:
        rows: Row of the source data of each example.
        prompt_ids: Tokens of all prompts, one after the other, int64.
        prompt_lengths: Tokens of each prompt, int64 `[P]`.
        completion_ids: Tokens of all completions, example by example, int64.
        lengths: Tokens of each completion, int64 `[C]`.
        counts: Completions of each example, int64 `[P]`.
        labels: Of each example; None where there are none.
        columns: Values of the data's columns, one of each example.
    """

    def __init__(
        self,
        rows: Sequence[int],
        prompt_ids: np.ndarray,
        prompt_lengths: np.ndarray,
        completion_ids: np.ndarray,
        lengths: np.ndarray,
        counts: np.ndarray,
        labels: Sequence[Sequence[bool]] | None = None,
        columns: Mapping[str, Sequence[ColumnValue]] | None = None,
    ) -> None:
        self.rows = rows
        self.prompt_ids = prompt_ids
        self.prompt_lengths = prompt_lengths
        self.completion_ids = completion_ids
        self.lengths = lengths
        self.counts = counts
        self.labels = labels
        self.columns = columns or {}

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> TokenizedExample: ...

    @overload
    def __getitem__(self, place: slice) -> list[TokenizedExample]: ...

    def __getitem__(self, place: int | slice) -> TokenizedExample | list[TokenizedExample]:
        return self._examples[place]

    @property
    def are_whole(self) -> bool:
        """True where each example has a prompt and a completion, as a batch needs."""
        return bool(self.prompt_lengths.all() and self.counts.all())

    @property
    def says_nothing(self) -> bool:
        """True where the data says nothing of the examples beside their tokens: no label, no column."""
        return self.labels is None and not self.columns

    def first(self, most: int) -> Sequence[TokenizedExample]:
        """Return the examples with the first of their completions."""
        if self.counts.max(initial=0) <= most:
            return self
        return [each.first(most) for each in self]

    @cached_property
    def bare(self) -> list[TokenizedExample]:
        """The examples without their tokens: what the data says of each, and how many completions it has."""
        columns = [dict(zip(self.columns, values, strict=True)) for values in zip(*self.columns.values(), strict=True)]
        none: list[int] = []
        return [
            TokenizedExample(
                row,
                none,
                [none] * count,
                labels=None if self.labels is None else self.labels[place],
                columns=columns[place] if columns else {},
            )
            for place, (row, count) in enumerate(zip(self.rows, self.counts.tolist(), strict=True))
        ]

    @cached_property
    def _examples(self) -> list[TokenizedExample]:
        prompts = _cut(self.prompt_ids, self.prompt_lengths)
        completions = iter(_cut(self.completion_ids, self.lengths))
        return [
            bare._replace(prompt_ids=prompt, completion_ids=[next(completions) for _ in bare.completion_ids])
            for bare, prompt in zip(self.bare, prompts, strict=True)
        ]


class Said(NamedTuple):
    """All that the data says of examples beside their tokens, one value of each.

    Attributes:
        rows: Rows of the source data.
        labels: Those of the completions; None where there are none.
        columns: Values of columns, by name.
    """

    rows: Sequence[int]
    labels: Sequence[Sequence[bool] | None] | None
    columns: Mapping[str, Sequence[Any]]


def said_of(examples: Sequence[TokenizedExample]) -> Said:
    """Return what the data says of examples that `check_examples` has seen."""
    if isinstance(examples, ExampleRows):
        return Said(examples.rows, examples.labels, examples.columns)
    labels = None if examples[0].labels is None else [each.labels for each in examples]
    columns = {name: [each.columns[name] for each in examples] for name in examples[0].columns}
    return Said([each.row for each in examples], labels, columns)


def bare(examples: Sequence[TokenizedExample]) -> Sequence[TokenizedExample]:
    """Return examples for everything but their tokens: without these where they are in arrays."""
    return examples.bare if isinstance(examples, ExampleRows) else examples


def _cut(ids: np.ndarray, lengths: np.ndarray) -> list[Any]:
    values, stops = ids.tolist(), np.cumsum(lengths).tolist()
    return [values[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]
