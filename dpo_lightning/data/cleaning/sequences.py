"""Many sequences of integers as one array: hashes and runs of all of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)

_BLOCK = 1 << 18  # integers


def mixed(values: np.ndarray) -> np.ndarray:
    """Return 64-bit hashes of 64-bit integers; the finaliser of SplitMix64 (doi:10.1145/2660193.2660195)."""
    values = (values ^ (values >> np.uint64(30))) * _FIRST
    values = (values ^ (values >> np.uint64(27))) * _SECOND
    return values ^ (values >> np.uint64(31))


class Sequences(NamedTuple):
    """Sequences of integers, one after the other.

    Attributes:
        values: All their integers, `[values]`, of any integer type.
        ends: Where each one ends, after a 0, `[sequences + 1]`.
    """

    values: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, sequences: Iterable[np.ndarray]) -> Sequences:
        """Join arrays of one type of integers."""
        parts = [*sequences]
        return cls(np.concatenate(parts or [np.empty(0, np.int64)]), np.cumsum([0, *map(len, parts)]))

    def one(self, place: int) -> np.ndarray:
        """Return the integers of one sequence."""
        return self.values[self.ends[place] : self.ends[place + 1]]

    @property
    def size(self) -> int:
        """Number of sequences."""
        return len(self.ends) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Length of each sequence, `[sequences]`."""
        return np.diff(self.ends)

    def hashes(self) -> np.ndarray:
        """Return a hash of each sequence, `[sequences]` uint64: equal sequences have equal ones.

        A hash is the sum of those of its integers with their places, modulo 2^64; two of a million different sequences
        share one with a probability below 1e-7.
        """
        return np.concatenate([np.empty(0, np.uint64), *(block._hashes() for block in self.blocks())])

    def _hashes(self) -> np.ndarray:
        lengths = self.lengths
        places = np.arange(len(self.values), dtype=np.uint64) - np.repeat(self.ends[:-1], lengths).astype(np.uint64)
        terms = mixed(mixed(self.values.astype(np.uint64) + _ODD) + places * _ODD)
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)])
        return mixed(sums[self.ends[1:]] - sums[self.ends[:-1]] + lengths.astype(np.uint64) * _ODD)

    def runs(self, width: int) -> Sequences:
        """Return hashes of all runs of so many integers of each sequence; a shorter sequence is one run, as it is."""
        ends = np.concatenate([[0], np.cumsum(_runs_in(self.lengths, width))])
        return Sequences(np.concatenate([np.empty(0, np.uint64), *(each._runs(width) for each in self.blocks())]), ends)

    def blocks(self) -> Iterator[Sequences]:
        """Yield some sequences at a time: what is computed of each integer then takes little memory."""
        start = 0
        while start < self.size:
            stop = max(start + 1, int(np.searchsorted(self.ends, self.ends[start] + _BLOCK, side="right")) - 1)
            ends = self.ends[start : stop + 1]
            yield Sequences(self.values[ends[0] : ends[-1]], ends - ends[0])
            start = stop

    def _runs(self, width: int) -> np.ndarray:
        lengths = self.lengths
        counts = _runs_in(lengths, width)
        ends = np.concatenate([[0], np.cumsum(counts)])
        offsets = np.arange(ends[-1]) - np.repeat(ends[:-1], counts)
        starts = np.repeat(self.ends[:-1], counts) + offsets
        left = np.repeat(lengths, counts) - offsets
        hashes = np.zeros(len(starts), np.uint64)
        padded = np.concatenate([self.values.astype(np.uint64) + np.uint64(1), np.zeros(width, np.uint64)])
        for place in range(width):  # 0 stands for what a short sequence lacks
            hashes = mixed(hashes * _ODD + np.where(left > place, padded[starts + place], np.uint64(0)))
        return hashes


def _runs_in(lengths: np.ndarray, width: int) -> np.ndarray:
    return np.where(lengths == 0, 0, np.maximum(lengths - width + 1, 1))
