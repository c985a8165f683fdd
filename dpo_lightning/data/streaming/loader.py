"""The loader of a stream, which goes on where its run goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from dpo_lightning.batch import Collate
from dpo_lightning.data.loader import EpochProgress, OwnLoader
from dpo_lightning.data.streaming.steps import Step
from dpo_lightning.data.streaming.tokens import Position
from dpo_lightning.errors import InputError


class Start(NamedTuple):
    """Place at which an epoch begins, or goes on.

    Attributes:
        epoch: Its number.
        done: Batches that are done.
        accumulate: Batches of an optimizer step.
        positions: Position of each rank; empty at the beginning.
        rest: Sizes of the batches to come on each rank, where they are settled.
    """

    epoch: int
    done: int
    accumulate: int
    positions: Sequence[Position] = ()
    rest: Sequence[Sequence[int]] | None = None


class EpochOfStream:
    """The epoch that Lightning has set, in the place of a sampler."""

    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch's order. Lightning calls it before each epoch."""
        self.epoch = epoch


class StreamLoader(OwnLoader):
    """An iterable of batches without a length; its iteration begins at the first `next`, see `LazyLoader`.

    Args:
        steps: Gives the steps of an epoch from a start on.
        collate: Makes a batch of examples.
        ranks: Number of data-parallel ranks.
        restored: What `state` gave for the checkpoint that the run goes on from.
    """

    def __init__(
        self,
        steps: Callable[[Start], Iterator[Step]],
        collate: Collate,
        ranks: int,
        restored: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__()
        self.sampler = EpochOfStream()
        self._steps = steps
        self._collate = collate
        self._ranks = ranks
        self._restored = restored
        self._behind: deque[dict[str, Any]] = deque(maxlen=1)

    def state(self) -> list[dict[str, Any]]:
        """Return the positions behind the last batches: one of them is the checkpoint's."""
        return list(self._behind)

    def __iter__(self) -> Iterator[Any]:
        """Iterate over what is left of the epoch."""
        progress = self.progress() if self.progress is not None else EpochProgress(0, 1, 0, resumed=False)
        epoch = self.sampler.epoch if progress.epoch is None else progress.epoch
        if progress.resumed and progress.done > 0 and progress.done >= progress.batches:
            return  # the rest of the epoch is left out
        start = self._start(epoch, progress)
        if start.done and self.check is not None:
            self.check()
        behind: deque[dict[str, Any]] = deque(maxlen=2 * start.accumulate + 4)
        if not progress.looked_at:  # a later checkpoint is of the run's position
            self._behind = behind
        for done, step in enumerate(self._steps(start), start.done + 1):
            behind.append({"done": done, "positions": step.positions, "rest": step.rest})
            batch = self._collate([each.example for each in step.batch])
            yield batch._replace(example_weight=start.accumulate * self._ranks / step.window)

    def _start(self, epoch: int, progress: EpochProgress) -> Start:
        done = int(progress.done) if progress.resumed else 0
        if not done:
            return Start(epoch, 0, progress.accumulate)
        found = next((each for each in self._restored if each["done"] == done), None)
        if found is None:
            raise InputError(
                f"the checkpoint does not say where its stream was after {done} batches: leave the rest of the epoch "
                "out with data.resume=next_epoch"
            )
        positions = [(rows, examples) for rows, examples in found["positions"]]
        return Start(epoch, done, progress.accumulate, positions, found["rest"])
