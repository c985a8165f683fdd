"""Rows of several streams as one, in exact proportions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Generic, TypeVar

T = TypeVar("T")


def interleaved(
    sources: Sequence[Callable[[], Iterator[T]]],
    weights: Sequence[float],
    begun_again: Callable[[int], None] = lambda number: None,
) -> Iterator[T]:
    """Yield rows of all sources until each was read to its end; one that ends before begins again.

    Of any first `n` rows, a source with the share `w` of the weights has `n w`, rounded down or up: of those sources
    that have not more than that, the next row is of the one that must have it first (the quota method of
    apportionment, Balinski and Young 1975). What a source holds of its rows is one.

    Args:
        sources: Begin each to be read; none of them is empty.
        weights: What each is worth, beside the others.
        begun_again: Is told the number of a source that begins again.
    """
    shares = _whole(weights)
    rows = [_Turns(begin) for begin in sources]
    given = [0] * len(rows)
    for count in itertools.count(1):
        number = _due(given, shares, count)
        if rows[number].ended:
            begun_again(number)
        given[number] += 1
        yield rows[number].take()
        if all(each.passed for each in rows):
            return


def _whole(weights: Sequence[float]) -> list[int]:
    """Return whole numbers in the proportions of the weights."""
    exact = [Fraction(str(weight)) for weight in weights]
    times = math.lcm(*(each.denominator for each in exact))
    return [int(each * times) for each in exact]


def _due(given: Sequence[int], shares: Sequence[int], count: int) -> int:
    """Return the source of the next row, which is the one of this count."""
    total = sum(shares)
    allowed = [number for number, share in enumerate(shares) if given[number] * total < count * share]
    return min(allowed, key=lambda number: Fraction(given[number] + 1, shares[number]))


class _Turns(Generic[T]):
    """Rows that begin again behind their end.

    Attributes:
        passed: Whether all of them have been given.
    """

    def __init__(self, begin: Callable[[], Iterator[T]]) -> None:
        self._begin = begin
        self.passed = False
        self._start()

    def _start(self) -> None:
        self._rows = self._begin()
        self._next = next(self._rows, None)

    @property
    def ended(self) -> bool:
        """True where the next row is the first one again."""
        return self._next is None

    def take(self) -> T:
        """Return the next row."""
        if self._next is None:
            self._start()
        row, self._next = self._next, next(self._rows, None)
        assert row is not None, "no source is empty"
        self.passed |= self._next is None
        return row
