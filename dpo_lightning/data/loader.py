"""The batches of one rank, and the loader that hands them to Lightning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader

from dpo_lightning.compat.lightning import BatchIndices
from dpo_lightning.data.batch_plans import BatchPlan, Step
from dpo_lightning.utils.processes import end_quietly


class ExampleBatchSampler:
    """Batches of indices for one rank.

    Args:
        plan: The batches of all ranks.
        rank: Data-parallel rank.
        losses: How many losses each example has, `[examples]`; null for one.

    Attributes:
        start: Batches of the epoch that an iteration skips, without reading their pairs.
    """

    def __init__(self, plan: BatchPlan, rank: int = 0, losses: np.ndarray | None = None) -> None:
        self.plan = plan
        self.rank = rank
        self._losses = losses
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

    def micro_batches(self) -> list[np.ndarray]:
        """Indices of each batch of the epoch, of all ranks."""
        return [batch for step in self._steps() for batch in step]

    def losses_per_step(self) -> list[int]:
        """Losses of each step of the epoch, over all ranks."""
        if self._losses is None:
            return [sum(map(len, step)) for step in self._steps()]
        return [sum(int(self._losses[batch].sum()) for batch in step) for step in self._steps()]

    def _steps(self) -> list[Step]:
        if self._planned is None or self._planned[0] != self.epoch:
            self._planned = (self.epoch, self.plan.steps(self.epoch))
        return self._planned[1]


class EpochProgress(NamedTuple):
    """Position of Lightning in an epoch when it asks a loader for the first batch of an iteration.

    Attributes:
        done: Batches of Lightning's epoch that are done.
        accumulate: Batches of an optimizer step; Lightning divides each loss by it.
        batches: Batches of Lightning's epoch, which other loaders may make longer than this one's; with the last one
            it steps. Infinite where nobody knows.
        cycled: Whether the loader begins anew where it ends before that epoch.
        resumed: Whether Lightning goes on after a restore: only then does an iteration begin in the middle.
        epoch: The epoch whose order it is; null leaves the one that Lightning has set, which counts an epoch too many
            after some restores.
        looked_at: Whether no run asks, but somebody who looks at the batches.
    """

    done: float
    accumulate: int
    batches: float
    cycled: bool = False
    resumed: bool = True
    epoch: int | None = None
    looked_at: bool = False

    def start(self, own: int) -> int:
        """Return how many of the loader's own batches an iteration skips."""
        if not self.resumed:
            return 0
        return int(self.done % own if self.cycled and self.done < self.batches else min(self.done, own))


def example_weights(losses_per_step: Sequence[int], progress: EpochProgress, world_size: int) -> Iterator[float]:
    """Yield the factor of a loss in each batch that is left: all losses of an optimizer step count alike.

    Lightning divides by `accumulate`, in the shorter last window too, and the strategy by `world_size`: with
    `accumulate x world_size / losses of the optimizer step`, what remains is the mean over these. Gradients of a
    window that a checkpoint interrupted are gone; the mean is then over the rest of it.
    """
    done, accumulate, batches, cycled, resumed, *_ = progress
    own = len(losses_per_step)

    def losses(step: int) -> int:
        if cycled:
            return losses_per_step[step % own]
        return losses_per_step[step] if 0 <= step < own else 0

    for step in range(progress.start(own), own):
        batch = int(done) + step - progress.start(own)
        if batch >= batches:
            return
        first = batch - batch % accumulate
        window = range(int(max(first, done)) if resumed else first, int(min(first + accumulate, batches)))
        yield accumulate * world_size / sum(losses(step + other - batch) for other in window)


class OwnLoader:
    """An iterable that goes on where Lightning goes on after a restore.

    Attributes:
        progress: Asked at the first `next`; null for evaluation.
        check: Called before an iteration in an epoch that a restore goes on with; may refuse it.
    """

    def __init__(self, progress: Callable[[], EpochProgress] | None = None) -> None:
        self.progress = progress
        self.check: Callable[[], None] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the position is Lightning's counter. Having this tells it that resuming is safe."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load nothing."""


class LazyLoader(OwnLoader):
    """An iterable around a DataLoader whose iteration begins at the first `next`.

    Lightning primes a DataLoader's workers before it has set the epoch and restored its counters; this waits until both
    are known. It is no `DataLoader`, so Lightning injects no sampler of its own. `sampler` is where Lightning
    looks for `set_epoch`. It can be iterated as often as one likes, always from its
    first batch, but where Lightning goes on in the middle of an epoch.

    Args:
        batches: What yields the batches of `sampler`.
        sampler: Chooses the pairs of each batch.
        progress: Asked at the first `next`; the batches then carry their `example_weight`. Null for evaluation: all
            batches, without weights.
        weighs: False for batches of another kind, which carry no weight.

    Attributes:
        batch_sampler: Indices of the batches of evaluation, as callbacks that write predictions get them.
    """

    def __init__(
        self,
        batches: Iterable[Any],
        sampler: ExampleBatchSampler,
        progress: Callable[[], EpochProgress] | None = None,
        *,
        weighs: bool = True,
    ) -> None:
        super().__init__(progress)
        self.batches = batches
        self.sampler = sampler
        self.weighs = weighs
        self.batch_sampler = BatchIndices(sampler)

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[Any]:
        """Iterate over what is left of the epoch."""
        if self.progress is None:
            self.batch_sampler.seen_batch_indices = list(self.sampler)
            yield from self.batches
            return
        progress = self.progress()
        if progress.epoch is not None:
            self.sampler.set_epoch(progress.epoch)
        if progress.resumed and 0 < progress.done < progress.batches and self.check is not None:
            self.check()
        self.sampler.start = progress.start(len(self))
        weights = example_weights(self.sampler.losses_per_step(), progress, self.sampler.plan.world_size)
        # The weights first: where these end, no batch is prepared in vain.
        for weight, batch in zip(weights, self.batches, strict=False):
            yield batch._replace(example_weight=weight) if self.weighs else batch


def build_loader(
    examples: Any,
    sampler: ExampleBatchSampler,
    collate: Callable[[list[Any]], Any] | None,
    *,
    num_workers: int,
    seed: int,
) -> LazyLoader:
    """Build a loader of the sampler's batches, with all of them and without weights until it is given its progress.

    Args:
        examples: What the sampler counts, by number.
        sampler: This rank's batches.
        collate: Makes the batch; None for torch's own way.
        num_workers: Processes that prepare batches; 0 for the main process.
        seed: Seed of the workers' seeds.
    """
    loader = DataLoader(
        examples,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=num_workers,
        worker_init_fn=end_quietly,
        pin_memory=torch.cuda.is_available(),
        # Starting an iteration draws a seed; without its own generator it would draw from the global one.
        generator=torch.Generator().manual_seed(seed),
    )
    return LazyLoader(loader, sampler)
