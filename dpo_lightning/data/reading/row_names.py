"""Names of rows in messages: the file that a row stands in, and its number there."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import NamedTuple


class RowsInFile(NamedTuple):
    """Rows of a file, one after the other.

    Attributes:
        path: The file.
        first: Number of the first one in it, from 0.
        rows: How many they are.
    """

    path: str
    first: int
    rows: int


@dataclass(frozen=True)
class RowNames:
    """Names of the rows of a split.

    Args:
        place: The split as messages name it.
        files: Where its rows stand, in their order; empty where the name of the split says so already.

    Example:
        >>> RowNames("a.jsonl, b.jsonl", (RowsInFile("a.jsonl", 0, 2), RowsInFile("b.jsonl", 7, 9)))(3)
        'b.jsonl, row 8 (from 0)'
    """

    place: str
    files: Sequence[RowsInFile] = ()

    def __call__(self, number: int) -> str:
        """Return the name of a row of the split."""
        starts = self._starts
        if number >= starts[-1]:
            return f"{self.place}, row {number} (from 0)"
        at = bisect_right(starts, number) - 1
        return f"{self.files[at].path}, row {self.files[at].first + number - starts[at]} (from 0)"

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *accumulate(each.rows for each in self.files)]


def rows_between(files: Iterable[RowsInFile], start: int, stop: int) -> list[RowsInFile]:
    """Return where the rows of a slice stand."""
    files = [*files]
    found = []
    for file, (begin, end) in zip(files, pairwise([0, *accumulate(each.rows for each in files)]), strict=True):
        first, last = max(start, begin), min(stop, end)
        if first < last:
            found.append(RowsInFile(file.path, file.first + first - begin, last - first))
    return found
