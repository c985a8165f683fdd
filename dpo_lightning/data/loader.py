"""The batches of one rank, and the loader that hands them to Lightning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader

from dpo_lightning.batch import Collate
from dpo_lightning.data.batch_plans import BatchPlan, Step
from dpo_lightning.data.dataset import ExampleDataset


class ExampleBatchSampler:
    """Batches of indices for one rank.

    Args:
        plan: The batches of all ranks.
        rank: Data-parallel rank.

    Attributes:
        start: Batches of the epoch that an iteration skips, without reading their pairs.
    """

    def __init__(self, plan: BatchPlan, rank: int = 0) -> None:
        self.plan = plan
        self.rank = rank
        self.epoch = 0
        self.start = 0
        self._planned: tuple[int, list[Step]] | None = None

    def __len__(self) -> int:
        """Batches of an epoch, those before `start` included."""
        return len(self.plan)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch's order. Lightning calls it before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the batches of the epoch from `start` on."""
        for step in self._steps()[self.start :]:
            yield step[self.rank].tolist()

    def examples_per_step(self) -> list[int]:
        """Pairs of each step of the epoch, over all ranks."""
        return [sum(map(len, step)) for step in self._steps()]

    def _steps(self) -> list[Step]:
        if self._planned is None or self._planned[0] != self.epoch:
            self._planned = (self.epoch, self.plan.steps(self.epoch))
        return self._planned[1]


class EpochProgress(NamedTuple):
    """Position of Lightning in an epoch when it asks for the first batch.

    Attributes:
        done: Batches that are done: more than 0 right after a restore in mid-epoch.
        accumulate: Batches of an optimizer step; Lightning divides each loss by it.
        batches: Batches that Lightning takes from the epoch; with the last one it steps.
    """

    done: int
    accumulate: int
    batches: int


def example_weights(examples_per_step: Sequence[int], progress: EpochProgress, world_size: int) -> Iterator[float]:
    """Yield the factor of a loss in each batch that is left: all examples of an optimizer step count alike.

    Lightning divides by `accumulate`, in the shorter last window too, and the strategy by `world_size`: with
    `accumulate x world_size / pairs of the optimizer step`, what remains is the mean over these pairs. Gradients of a
    window that a checkpoint interrupted are gone; the mean is then over the rest of it.
    """
    done, accumulate, batches = progress
    for batch in range(done, min(batches, len(examples_per_step))):
        first = batch - batch % accumulate
        window = examples_per_step[max(first, done) : min(first + accumulate, batches)]
        yield accumulate * world_size / sum(window)


class LazyLoader:
    """An iterable around a DataLoader whose iteration begins at the first `next`.

    Lightning primes a DataLoader's workers before it has set the epoch and restored its counters; this waits until both
    are known. It is no `DataLoader`, so Lightning injects no sampler of its own. `sampler` is where Lightning
    looks for `set_epoch`; `batch_sampler` is read beside it.

    Args:
        batches: What yields the batches of `sampler`.
        sampler: Chooses the pairs of each batch.
        progress: Asked at the first `next`; the batches then carry their `example_weight`. Null for evaluation: all
            batches, without weights.
    """

    batch_sampler = None

    def __init__(
        self, batches: Iterable[Any], sampler: ExampleBatchSampler, progress: Callable[[], EpochProgress] | None = None
    ) -> None:
        self.batches = batches
        self.sampler = sampler
        self.progress = progress

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[Any]:
        """Iterate over what is left of the epoch."""
        if self.progress is None:
            yield from self.batches
            return
        progress = self.progress()
        self.sampler.start = progress.done
        weights = example_weights(self.sampler.examples_per_step(), progress, self.sampler.plan.world_size)
        # The weights first: where these end, no batch is prepared in vain.
        for weight, batch in zip(weights, self.batches, strict=False):
            yield batch._replace(example_weight=weight)

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the position is Lightning's counter. Having this tells it that resuming is safe."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load nothing."""


def build_loader(
    examples: ExampleDataset, sampler: ExampleBatchSampler, collate: Collate, *, num_workers: int, seed: int
) -> LazyLoader:
    """Build a loader of the sampler's batches, with all of them and without weights until it is given its progress.

    Args:
        examples: What the sampler counts.
        sampler: This rank's batches.
        collate: Makes the batch.
        num_workers: Processes that prepare batches; 0 for the main process.
        seed: Seed of the workers' seeds.
    """
    loader = DataLoader(
        examples,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        # Starting an iteration draws a seed; without its own generator it would draw from the global one.
        generator=torch.Generator().manual_seed(seed),
    )
    return LazyLoader(loader, sampler)
