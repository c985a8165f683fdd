"""Rows of an epoch: all of them, exact shares of several sources, or in an order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpo_lightning.data.lengths import Lengths


class EpochRows(ABC):
    """The rows of each epoch, as positions in the training split; a function of the epoch alone."""

    @abstractmethod
    def __len__(self) -> int:
        """Rows of an epoch, the same in every epoch."""

    @abstractmethod
    def of(self, epoch: int) -> np.ndarray:
        """Return the positions `[len]` of an epoch's rows; one that stands twice is trained on twice."""

    @abstractmethod
    def ceiling(self, tokens: np.ndarray) -> np.ndarray:
        """Return tokens `[len]`, the most first, such that no epoch's k-th longest row has more than the k-th of them.

        Args:
            tokens: Tokens of each row of the split.
        """


@dataclass(frozen=True)
class AllRows(EpochRows):
    """All rows, once.

    Args:
        count: How many there are.
    """

    count: int

    def __len__(self) -> int:
        return self.count

    def of(self, epoch: int) -> np.ndarray:
        """Return all positions."""
        return np.arange(self.count)

    def ceiling(self, tokens: np.ndarray) -> np.ndarray:
        """Return the tokens of all rows, the most first."""
        return -np.sort(-tokens)


@dataclass(frozen=True)
class Part:
    """A source's rows in the training split, and how many of them an epoch takes.

    Args:
        name: Name of the source.
        start: Position of its first row.
        size: How many rows it has.
        taken: How many rows of it an epoch has.
    """

    name: str
    start: int
    size: int
    taken: int


class MixedRows(EpochRows):
    """Exact numbers of rows of several sources.

    Of a source with `n` rows, `m` are taken: each row `m // n` times, and a part of `r = m % n` rows. The part is every
    `n/r`-th row by number of tokens, rows of equally many in a random order, and moves on by one row each epoch. So
    every row is in one of any `ceil(n / r)` epochs in a row of a turn, and the parts of all epochs have nearly the same
    lengths, by which the steps of an epoch can be counted once.

    Args:
        parts: The sources.
        tokens: Tokens of each row of the split.
        seed: Seed of the parts.
    """

    def __init__(self, parts: Sequence[Part], tokens: np.ndarray, seed: int) -> None:
        self.parts = parts
        self.tokens = np.asarray(tokens)
        self.seed = seed

    def __len__(self) -> int:
        return sum(part.taken for part in self.parts)

    def of(self, epoch: int) -> np.ndarray:
        """Return the rows source by source, those of whole passes first."""
        return np.concatenate([self._of(number, epoch) for number in range(len(self.parts))])

    def ceiling(self, tokens: np.ndarray) -> np.ndarray:
        """Bound the parts: of the `n` rows of a source in ascending order, any `ceil(k n / r)` hold `k` of a part."""
        bounds = []
        for part in self.parts:
            own = np.sort(tokens[part.start : part.start + part.size])
            passes, rest = divmod(part.taken, part.size)
            ranks = -(-np.arange(1, rest + 1) * part.size // rest) - 1 if rest else np.empty(0, dtype=int)
            bounds += [*[own] * passes, own[ranks]]
        return -np.sort(-np.concatenate(bounds))

    def _of(self, number: int, epoch: int) -> np.ndarray:
        part = self.parts[number]
        passes, rest = divmod(part.taken, part.size)
        positions = [np.arange(part.size)] * passes
        if rest:
            positions.append(self._part(part, rest, number, epoch))
        return part.start + np.concatenate(positions)

    def _part(self, part: Part, rest: int, number: int, epoch: int) -> np.ndarray:
        turn, step = divmod(epoch, -(-part.size // rest))
        rng = np.random.default_rng([self.seed, number, turn])
        first = int(rng.integers(part.size))
        by_length = np.lexsort((rng.permutation(part.size), self.tokens[part.start : part.start + part.size]))
        spaced = np.arange(rest) * part.size // rest
        return by_length[(spaced + first + step) % part.size]


@dataclass(frozen=True)
class OrderedRows(EpochRows):
    """The rows of each epoch in ascending order of a key; equal ones keep their order.

    Args:
        rows: The rows.
        keys: Key of each row of the split.
    """

    rows: EpochRows
    keys: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, epoch: int) -> np.ndarray:
        """Return the rows in order."""
        rows = self.rows.of(epoch)
        return rows[np.argsort(self.keys[rows], kind="stable")]

    def ceiling(self, tokens: np.ndarray) -> np.ndarray:
        """Return that of the rows, whatever their order."""
        return self.rows.ceiling(tokens)


@dataclass(frozen=True)
class SameRows(EpochRows):
    """The rows of the first epoch in every epoch, for a run that fits a few batches again and again.

    Args:
        rows: The rows.
    """

    rows: EpochRows

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, epoch: int) -> np.ndarray:
        """Return the rows of epoch 0."""
        return self.rows.of(0)

    def ceiling(self, tokens: np.ndarray) -> np.ndarray:
        """Return that of the rows."""
        return self.rows.ceiling(tokens)


def chosen_rows(parts: Sequence[Part], lengths: Lengths, seed: int) -> EpochRows:
    """Return the rows of each epoch before any order: of sources, exact numbers of rows of each.

    Args:
        parts: The sources; empty for a single one.
        lengths: Tokens of each row of the split.
        seed: Seed of the parts that an epoch takes.
    """
    return MixedRows(parts, lengths.tokens, seed) if parts else AllRows(len(lengths.prompt))
