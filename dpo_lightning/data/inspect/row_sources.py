"""Rows that the doctor looks at: those of a split, a sample of them, or the first ones of a stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from dpo_lightning.data.streaming.row_streams import RawRow, RowStream
from dpo_lightning.data.streaming.source import HEAD, as_table

if TYPE_CHECKING:
    from datasets import Dataset

_BLOCK = 256

NumberedRow: TypeAlias = tuple[int, Mapping[str, Any]]
"""A row with its number in the source data, from 0."""


class RowSource(ABC):
    """Rows to look at.

    Attributes:
        total: How many rows the split has; None where nobody knows.
        looked_at: How many are read at most.
    """

    total: int | None
    looked_at: int

    @property
    @abstractmethod
    def table(self) -> Dataset:
        """Rows that stand for all of them in a look at their columns."""

    @abstractmethod
    def blocks(self) -> Iterator[list[NumberedRow]]:
        """Yield the rows, some at once.

        Raises:
            InputError: naming the line of a file that holds no row.
        """


class TableRows(RowSource):
    """Rows of a split, or a sample of them.

    Args:
        rows: The split.
        ignored: Columns that are left out.
        most: Take a sample of so many rows where there are more; None takes all.
        seed: Seed of the sample.
    """

    def __init__(self, rows: Dataset, ignored: Sequence[str] = (), most: int | None = None, seed: int = 0) -> None:
        self._rows = rows.remove_columns(sorted({*ignored}.intersection(rows.column_names)))
        self.total = len(rows)
        self._numbers = np.arange(len(rows))
        if most is not None and len(rows) > most:
            self._numbers = np.sort(np.random.default_rng(seed).choice(self._numbers, most, replace=False))
        self.looked_at = len(self._numbers)

    @property
    def table(self) -> Dataset:
        """The split."""
        return self._rows

    def blocks(self) -> Iterator[list[NumberedRow]]:
        """Yield the rows of the sample."""
        for start in range(0, len(self._numbers), _BLOCK):
            numbers = self._numbers[start : start + _BLOCK].tolist()
            columns = self._rows[numbers]
            yield [
                (number, {name: values[place] for name, values in columns.items()})
                for place, number in enumerate(numbers)
            ]


class StreamRows(RowSource):
    """The first rows of a stream.

    Args:
        stream: The stream.
        ignored: Columns that are left out.
        most: How many of its rows are read.
    """

    total = None

    def __init__(self, stream: RowStream, ignored: Sequence[str], most: int) -> None:
        self._stream = stream
        self._ignored = frozenset(ignored)
        self.looked_at = most

    @cached_property
    def head(self) -> list[Mapping[str, Any]]:
        """The rows by which a run settles the format.

        Raises:
            InputError: as a run does, for one that is no row.
        """
        return [dict(raw.columns()) for raw in islice(self._stream.rows(), HEAD)]

    @property
    def table(self) -> Dataset:
        """The first rows."""
        return as_table([self._without(row) for row in self.head], [*self._names])

    def blocks(self) -> Iterator[list[NumberedRow]]:
        """Yield the rows in their order."""
        rows = islice(self._stream.rows(), self.looked_at)
        while block := list(islice(rows, _BLOCK)):
            yield [self._read(raw) for raw in block]

    @cached_property
    def _names(self) -> dict[str, None]:
        return self._without({name: None for row in self.head for name in row})

    def _read(self, raw: RawRow) -> NumberedRow:
        return raw.row, {**self._names, **self._without(raw.columns())}

    def _without(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in row.items() if name not in self._ignored}
