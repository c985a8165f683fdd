"""Plans: which examples make up which step of an epoch, as a function of seed and epoch, the same on every rank."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from dpo_lightning.data.mixing.epoch_rows import AllRows, EpochRows
from dpo_lightning.errors import InputError

Step = list[np.ndarray]
"""Indices of the pairs of one batch on each rank."""

# Steps in which pairs are sorted by length. Fewer in a small epoch: sorted as a whole, it would have the same batches
# every time.
_MOST_WINDOW_STEPS = 64
_LEAST_WINDOWS = 2

# How far, in octaves, a pair may move from its place in the order by length; the first that fits the budget is taken.
# Half an octave nearly always does. Where none fits, pairs of equal length trade places and the rest stays.
_SHUFFLES = (0.5, 0.25, 0.125, 0.0625, 0.03125)


class BatchPlan(ABC):
    """The batches of all ranks, step by step: each pair once per epoch, equally many batches on every rank, none empty.

    Where several sources are mixed, an epoch has the pairs that its `EpochRows` say.

    Attributes:
        world_size: Number of data-parallel ranks.
    """

    world_size: int

    @abstractmethod
    def __len__(self) -> int:
        """Steps of an epoch, the same in every epoch."""

    @abstractmethod
    def steps(self, epoch: int) -> list[Step]:
        """The steps of an epoch in order."""


class ExamplePlan(BatchPlan):
    """A plan of as few batches as respect `batch_pairs`; the sizes differ by at most one, over steps and over ranks.

    A step's pairs are dealt to the ranks so that these have about equally many tokens. (With a `batch_pairs` of 1 and
    a number of pairs that `world_size` does not divide, two pairs must share some batches.)

    Args:
        tokens: Tokens of each pair, for the balance of the ranks.
        batch_pairs: Most pairs of a batch on one rank.
        shuffle: A new order each epoch; otherwise the order of the data.
        group_by: Length of each pair: put similar ones into a batch, in windows of up to 64 shuffled steps, which saves
            padding. Null groups nothing.
        seed: Seed of the order.
        world_size: Number of data-parallel ranks.
        rows: The pairs of each epoch; null for all of them.

    Raises:
        InputError: for fewer pairs than ranks.
    """

    def __init__(
        self,
        tokens: Sequence[int] | np.ndarray,
        batch_pairs: int,
        *,
        shuffle: bool,
        group_by: Sequence[int] | np.ndarray | None = None,
        seed: int = 0,
        world_size: int = 1,
        rows: EpochRows | None = None,
    ) -> None:
        self.rows = AllRows(len(tokens)) if rows is None else rows
        _check_spread(len(self.rows), world_size)
        self.tokens = np.asarray(tokens)
        self.batch_pairs = batch_pairs
        self.shuffle = shuffle
        self.group_by = None if group_by is None else np.asarray(group_by)
        self.seed = seed
        self.world_size = world_size

    def __len__(self) -> int:
        """Steps of an epoch."""
        pairs = len(self.rows)
        return min(math.ceil(pairs / (self.batch_pairs * self.world_size)), pairs // self.world_size)

    def steps(self, epoch: int) -> list[Step]:
        """The steps of an epoch in order."""
        order = self.rows.of(epoch)
        if not self.shuffle:
            return [self._deal(step) for step in np.array_split(order, len(self))]
        rng = np.random.default_rng([self.seed, epoch])
        rng.shuffle(order)
        if self.group_by is None:
            return [self._deal(step) for step in np.array_split(order, len(self))]
        steps = np.array_split(self._grouped(order, self.group_by), len(self))
        return [self._deal(steps[index]) for index in rng.permutation(len(steps))]

    def _grouped(self, order: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        window_steps = min(_MOST_WINDOW_STEPS, max(1, len(self) // _LEAST_WINDOWS))
        window = window_steps * self.batch_pairs * self.world_size
        windows = [order[start : start + window] for start in range(0, len(order), window)]
        return np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in windows])

    def _deal(self, pairs: np.ndarray) -> Step:
        """Deal in rounds of one example for each rank, the longest to the rank with the fewest tokens so far."""
        if self.world_size == 1:
            return [pairs]
        tokens = self.tokens[pairs]
        longest_first = np.argsort(-tokens, kind="stable")
        rank_of = np.empty(len(pairs), dtype=int)
        loads = np.zeros(self.world_size, dtype=int)
        for start in range(0, len(pairs), self.world_size):
            dealt = longest_first[start : start + self.world_size]
            ranks = np.argsort(loads, kind="stable")[: len(dealt)]
            rank_of[dealt] = ranks
            loads[ranks] += tokens[dealt]
        return [pairs[rank_of == rank] for rank in range(self.world_size)]


class TokenPlan(BatchPlan):
    """Shuffled batches of at most `batch_tokens` tokens, all of nearly as many.

    The longest pairs go first, each into the batch with the fewest tokens so far. The number of steps is found once,
    for the order by length. The order of an epoch is that one with every pair moved at random, as far as the budget
    allows, so that other pairs meet in each epoch.

    Args:
        tokens: Tokens of each pair, none more than `batch_tokens`.
        batch_tokens: Most tokens of a batch on one rank.
        seed: Seed of the order.
        world_size: Number of data-parallel ranks.
        rows: The pairs of each epoch; null for all of them.

    Raises:
        InputError: for fewer pairs than ranks, or when the pairs do not make equally many batches on every rank.
    """

    def __init__(
        self,
        tokens: Sequence[int] | np.ndarray,
        batch_tokens: int,
        *,
        seed: int = 0,
        world_size: int = 1,
        rows: EpochRows | None = None,
    ) -> None:
        self.rows = AllRows(len(tokens)) if rows is None else rows
        _check_spread(len(self.rows), world_size)
        self.tokens = np.asarray(tokens)
        self.batch_tokens = batch_tokens
        self.seed = seed
        self.world_size = world_size
        self._length = self._count_steps()

    def __len__(self) -> int:
        """Steps of an epoch."""
        return self._length

    def steps(self, epoch: int) -> list[Step]:
        """The steps of an epoch in order."""
        rng = np.random.default_rng([self.seed, epoch])
        batches = self._batches(self.rows.of(epoch), rng)
        # Neighbours by tokens make a step, so that no rank waits for another one.
        by_tokens = np.argsort([self.tokens[batch].sum() for batch in batches], kind="stable")
        steps = by_tokens.reshape(-1, self.world_size)
        return [[batches[number] for number in steps[index]] for index in rng.permutation(len(steps))]

    def _batches(self, rows: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        shuffled = rows[rng.permutation(len(rows))]
        places = np.log2(self.tokens[shuffled])
        for octaves in _SHUFFLES:
            moved = places + octaves * rng.random(len(places))
            order = shuffled[np.argsort(-moved, kind="stable")]
            batch_of = _emptiest_first(self.tokens[order], len(self) * self.world_size, self.batch_tokens)
            if batch_of is not None:
                break
        else:
            order = shuffled[np.argsort(-self.tokens[shuffled], kind="stable")]
            # No epoch's pairs have more tokens than these, one for one, and these fit.
            ceiling = self.rows.ceiling(self.tokens)
            batch_of = _emptiest_first(ceiling, len(self) * self.world_size, self.batch_tokens)
            assert batch_of is not None
        ends = np.cumsum(np.bincount(batch_of))[:-1]
        return np.split(order[np.argsort(batch_of, kind="stable")], ends)

    def _count_steps(self) -> int:
        """The fewest steps found by trying more and more, then by halving: some 10 ms a try of a million pairs."""
        longest_first = self.rows.ceiling(self.tokens)

        def fits(steps: int) -> bool:
            return _emptiest_first(longest_first, steps * self.world_size, self.batch_tokens) is not None

        most = len(self.rows) // self.world_size
        enough = min(math.ceil(longest_first.sum() / (self.batch_tokens * self.world_size)), most)
        too_few, stride = enough - 1, 1
        while not fits(enough):
            if enough == most:
                raise _no_equal_batches(self.batch_tokens, len(self.rows), self.world_size)
            too_few, enough, stride = enough, min(enough + stride, most), 2 * stride
        while enough - too_few > 1:
            middle = (too_few + enough) // 2
            too_few, enough = (too_few, middle) if fits(middle) else (middle, enough)
        return enough


class OrderedTokenPlan(BatchPlan):
    """Batches of at most `batch_tokens` tokens in the order of the data, or of a curriculum; the same in every epoch.

    Args:
        tokens: Tokens of each pair, none more than `batch_tokens`.
        batch_tokens: Most tokens of a batch on one rank.
        world_size: Number of data-parallel ranks.
        rows: The pairs in their order; null for all of them in that of the data.

    Raises:
        InputError: for fewer pairs than ranks, or when the pairs do not make equally many batches on every rank.
    """

    def __init__(
        self,
        tokens: Sequence[int] | np.ndarray,
        batch_tokens: int,
        *,
        world_size: int = 1,
        rows: EpochRows | None = None,
    ) -> None:
        order = (AllRows(len(tokens)) if rows is None else rows).of(0)
        _check_spread(len(order), world_size)
        self.world_size = world_size
        batches = [order[batch] for batch in _filled_in_order(np.asarray(tokens)[order], batch_tokens)]
        while len(batches) % world_size:
            largest = max(range(len(batches)), key=lambda number: len(batches[number]))
            if len(batches[largest]) == 1:
                raise _no_equal_batches(batch_tokens, len(tokens), world_size)
            batches[largest : largest + 1] = np.array_split(batches[largest], 2)
        self._steps = [batches[start : start + world_size] for start in range(0, len(batches), world_size)]

    def __len__(self) -> int:
        """Steps of an epoch."""
        return len(self._steps)

    def steps(self, epoch: int) -> list[Step]:
        """The same steps in every epoch."""
        return self._steps


def _emptiest_first(tokens: np.ndarray, batches: int, limit: int) -> np.ndarray | None:
    """Put each pair in turn into the batch with the fewest tokens; the batch of each, or None when one overflows.

    As many pairs as there are batches go at once: the k-th into the k-th emptiest batch, as long as that has fewer
    tokens than each that has just got a pair.
    """
    loads, batch_of, done = np.zeros(batches, dtype=np.int64), np.empty(len(tokens), dtype=np.int64), 0
    narrow = np.min_scalar_type(limit)  # integers of 16 bits are sorted in linear time
    while done < len(tokens):
        emptiest = np.argsort(loads.astype(narrow), kind="stable")[: len(tokens) - done]
        before = loads[emptiest]
        after = before + tokens[done : done + len(emptiest)]
        passed = before[1:] >= np.minimum.accumulate(after)[:-1]
        count = int(passed.argmax()) + 1 if passed.any() else len(emptiest)
        if after[:count].max() > limit:
            return None
        loads[emptiest[:count]] = after[:count]
        batch_of[done : done + count] = emptiest[:count]
        done += count
    return batch_of


def _filled_in_order(tokens: np.ndarray, limit: int) -> list[np.ndarray]:
    ends, starts = np.cumsum(tokens), [0]
    while starts[-1] < len(tokens):
        filled = ends[starts[-1]] - tokens[starts[-1]]
        starts.append(max(int(np.searchsorted(ends, filled + limit, side="right")), starts[-1] + 1))
    return np.split(np.arange(len(tokens)), starts[1:-1])


def _check_spread(pairs: int, world_size: int) -> None:
    if pairs < world_size:
        raise InputError(f"{pairs} pairs cannot be spread over {world_size} ranks: give more pairs, or fewer devices")


def _no_equal_batches(batch_tokens: int, pairs: int, world_size: int) -> InputError:
    return InputError(
        f"data.batch_tokens {batch_tokens}: {pairs} pairs do not make equally many batches on {world_size} ranks: "
        "raise it"
    )
