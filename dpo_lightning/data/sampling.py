"""Which pairs make up which batch: a function of seed and epoch, the same on every rank."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from dpo_lightning.errors import InputError

# Steps in which pairs are sorted by length. Fewer in a small epoch: sorted as a whole, it would have the same batches
# every time.
_MOST_WINDOW_STEPS = 64
_LEAST_WINDOWS = 2


class PairBatchSampler:
    """Batches of indices for one rank; each pair once per epoch, none dropped, none repeated.

    The pairs are spread over the fewest batches that respect ``batch_size``, so sizes differ by at most one, and every
    rank gets equally many batches, none of them empty. (With a ``batch_size`` of 1 and a number of pairs that
    ``world_size`` does not divide, that is only possible with two pairs in some batches.)

    Args:
        lengths: Tokens of each pair, for grouping.
        batch_size: Most pairs of a batch on one rank.
        shuffle: A new order each epoch, from ``seed`` and the epoch; otherwise the order of the data.
        length_grouped: Put pairs of similar length into a batch, in windows of up to 64 shuffled steps: less padding.
        seed: Seed of the order.
        rank: Data-parallel rank.
        world_size: Number of data-parallel ranks.

    Attributes:
        start: Batches of the epoch that an iteration skips, without reading their pairs.

    Raises:
        InputError: for fewer pairs than ranks, or a batch size below 1.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        *,
        shuffle: bool,
        length_grouped: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if len(lengths) < world_size:
            raise InputError(f"{len(lengths)} pairs cannot be spread over {world_size} ranks")
        if batch_size < 1:
            raise InputError(f"data.batch_size must be at least 1, got {batch_size}")
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.length_grouped = length_grouped
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        """Batches of an epoch, those before ``start`` included."""
        pairs = len(self.lengths)
        return min(math.ceil(pairs / (self.batch_size * self.world_size)), pairs // self.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch's order. Lightning calls it before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the batches of the epoch from ``start`` on."""
        for step in self._steps()[self.start :]:
            yield step[self.rank :: self.world_size].tolist()

    def _steps(self) -> list[np.ndarray]:
        """The pairs of each step over all ranks, similar lengths spread over them alike."""
        order = np.arange(len(self.lengths))
        if not self.shuffle:
            return np.array_split(order, len(self))
        rng = np.random.default_rng([self.seed, self.epoch])
        rng.shuffle(order)
        if not self.length_grouped:
            return np.array_split(order, len(self))
        window_steps = min(_MOST_WINDOW_STEPS, max(1, len(self) // _LEAST_WINDOWS))
        window = window_steps * self.batch_size * self.world_size
        windows = [order[start : start + window] for start in range(0, len(order), window)]
        order = np.concatenate([part[np.argsort(self.lengths[part], kind="stable")] for part in windows])
        steps = np.array_split(order, len(self))
        return [steps[index] for index in rng.permutation(len(steps))]


class LazyLoader:
    """An iterable around a DataLoader whose iteration begins at the first ``next``.

    Lightning primes a DataLoader's workers before it has set the epoch and restored its counters; this waits until both
    are known. It is no ``DataLoader``, so Lightning injects no sampler of its own. ``sampler`` is where Lightning
    looks for ``set_epoch``; ``batch_sampler`` is read beside it.

    Args:
        batches: What yields the batches of ``sampler``.
        sampler: Chooses the pairs of each batch.
        position: Batches of the epoch that are done, asked at the first ``next``; null for none, ever.
    """

    batch_sampler = None

    def __init__(
        self, batches: Iterable[Any], sampler: PairBatchSampler, position: Callable[[], int] | None = None
    ) -> None:
        self.batches = batches
        self.sampler = sampler
        self.position = position

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[Any]:
        """Iterate over what is left of the epoch."""
        if self.position is not None:
            self.sampler.start = self.position()
        yield from self.batches

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the position is Lightning's own counter. To have this tells Lightning that resuming is safe."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to load."""
