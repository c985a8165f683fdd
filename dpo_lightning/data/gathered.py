"""Token ids of any rows, gathered from where they lie in their file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dpo_lightning.batch.parts import ranges
from dpo_lightning.compat.datasets import chosen_rows

if TYPE_CHECKING:
    import datasets


class GatheredIds(NamedTuple):
    """Ids of some rows, one row after the other.

    Attributes:
        ids: The ids, int64.
        lengths: How many each list has, int64.
        counts: Lists of each row, int64.
    """

    ids: np.ndarray
    lengths: np.ndarray
    counts: np.ndarray


class IdTable:
    """The lists of ids of tokenised rows, which stay in their file: of a batch, those of its rows alone are copied.

    `datasets` takes 2 us a row, and 30 us where rows were selected one by one. Where each list ends is kept in memory.

    Args:
        rows: All rows of a table, or some.
    """

    def __init__(self, rows: datasets.Dataset) -> None:
        self._rows = rows
        chosen = chosen_rows(rows)
        self._places = np.arange(len(rows)) if chosen is None else chosen
        self._batches = rows.data.table.to_batches()
        self._firsts = np.cumsum([0, *map(len, self._batches)])
        self._columns: dict[str, _Lists] = {}
        self._numbers: dict[str, np.ndarray] = {}

    def __reduce__(self) -> Any:
        """Return how it is pickled: as the rows, which know their file."""
        return IdTable, (self._rows,)

    def numbers(self, name: str, indices: Sequence[int]) -> list[int]:
        """Return the values of a column with a whole number of each row."""
        if name not in self._numbers:
            self._numbers[name] = np.concatenate([each.column(name).to_numpy() for each in self._batches])
        found: list[int] = self._numbers[name][self._places[indices]].tolist()
        return found

    def lists(self, name: str, indices: Sequence[int]) -> GatheredIds:
        """Return the ids of a column with a list of each row."""
        lists, places, chunks = self._found(name, indices)
        starts, stops = lists.ends[places], lists.ends[places + 1]
        return GatheredIds(lists.values_of(starts, stops, chunks), stops - starts, np.ones_like(places))

    def nested(self, name: str, indices: Sequence[int]) -> GatheredIds:
        """Return the ids of a column with several lists of each row."""
        lists, places, chunks = self._found(name, indices)
        within, counts = lists.within, lists.ends[places + 1] - lists.ends[places]
        first = lists.ends[places] + within.firsts[chunks]
        each = ranges(first, counts)
        ids = within.values_of(within.ends[first], within.ends[first + counts], chunks)
        return GatheredIds(ids, within.ends[each + 1] - within.ends[each], counts)

    def are_empty(self, name: str, indices: Sequence[int]) -> bool:
        """Return whether the lists of these rows have nothing, or the rows have no such column."""
        if name not in self._rows.column_names:
            return True
        lists, places, _ = self._found(name, indices)
        return bool((lists.ends[places] == lists.ends[places + 1]).all())

    def _found(self, name: str, indices: Sequence[int]) -> tuple[_Lists, np.ndarray, np.ndarray]:
        """Return the lists of a column, and place and chunk of each row among them."""
        if name not in self._columns:
            self._columns[name] = _Lists([each.column(name) for each in self._batches])
        lists, rows = self._columns[name], self._places[indices]
        chunks = self._firsts.searchsorted(rows, side="right") - 1
        return lists, rows - self._firsts[chunks] + lists.firsts[chunks], chunks


class _Lists:
    """A column of lists.

    Args:
        chunks: Its Arrow arrays.

    Attributes:
        ends: Where the first list of each chunk begins, and where each list ends, among the values of the chunk.
        firsts: Place of each chunk in `ends`.
    """

    def __init__(self, chunks: Sequence[Any]) -> None:
        offsets = [each.offsets.to_numpy() for each in chunks]
        self.ends = np.concatenate(offsets).astype(np.int64)
        self.firsts = np.cumsum([0, *map(len, offsets)])
        self._chunks = [each.values for each in chunks]
        self._within: _Lists | None = None
        self._values: list[np.ndarray] = []

    @property
    def within(self) -> _Lists:
        """The lists that are the values."""
        if self._within is None:
            self._within = _Lists(self._chunks)
        return self._within

    def values_of(self, starts: np.ndarray, stops: np.ndarray, chunks: np.ndarray) -> np.ndarray:
        """Return the values in these places of their chunks, int64."""
        self._values = self._values or [each.to_numpy() for each in self._chunks]
        places = zip(chunks.tolist(), starts.tolist(), stops.tolist(), strict=True)
        return np.concatenate([self._values[chunk][start:stop] for chunk, start, stop in places], dtype=np.int64)
