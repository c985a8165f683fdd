"""Learning-rate schedules per optimizer step, all with a linear warm-up."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Union, cast

import lightning.pytorch as pl
from lightning.pytorch.callbacks import BatchSizeFinder, GradientAccumulationScheduler
from lightning.pytorch.utilities import rank_zero_warn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from dpo_lightning.errors import InputError
from dpo_lightning.utils.settings import Rule, require

__all__ = ["Constant", "Cosine", "Linear", "Schedule", "accumulates", "optimizer_steps", "schedule_anew"]


_FACTOR = Rule("a factor from 0 to 1", lambda value: 0 <= value <= 1)


class Schedule(ABC):
    """A callable that makes a scheduler, stepped once per optimizer step."""

    @abstractmethod
    def __call__(self, optimizer: Optimizer, total_steps: float) -> LRScheduler | None:
        """Build the scheduler for a run of `total_steps` optimizer steps (`inf` where the run has no end).

        None leaves the learning rate to the optimizer, whose parameter groups others may then change.
        """


@dataclass(frozen=True)
class Constant(Schedule):
    """A linear warm-up to the full learning rate, which then stays.

    Args:
        warmup: Optimizer steps (int), or a fraction of the run (float below 1).
    """

    warmup: Union[int, float] = 0

    def __post_init__(self) -> None:
        require(self, "schedule")
        _check_warmup(self.warmup)

    def __call__(self, optimizer: Optimizer, total_steps: float) -> LRScheduler | None:
        """Return a scheduler with the factor min(1, (step + 1) / (warm-up + 1)); None without a warm-up."""
        warmup = _warmup_steps(self.warmup, total_steps)
        if not warmup:
            return None
        return LambdaLR(optimizer, lambda step: _ramp(step, warmup))


@dataclass(frozen=True)
class Linear(Schedule):
    """A linear warm-up, then a linear fall to `floor` at the end of the run.

    Args:
        warmup: Optimizer steps (int), or a fraction of the run (float below 1).
        floor: Factor at the end.
    """

    warmup: Union[int, float] = 0.1
    floor: float = 0.0

    def __post_init__(self) -> None:
        require(self, "schedule", floor=_FACTOR)
        _check_warmup(self.warmup)

    def __call__(self, optimizer: Optimizer, total_steps: float) -> LRScheduler:
        """Return a scheduler with the ramp of the warm-up, then 1 - (1 - floor) x progress."""
        warmup, decay = _warmup_steps(self.warmup, total_steps), _decay_steps(self, total_steps)
        return LambdaLR(
            optimizer,
            lambda step: _ramp(step, warmup) * (1 - (1 - self.floor) * _progress(step, warmup, decay)),
        )


@dataclass(frozen=True)
class Cosine(Schedule):
    """A linear warm-up, then a fall along half a cosine to `floor` at the end of the run (arXiv:1608.03983).

    Args:
        warmup: Optimizer steps (int), or a fraction of the run (float below 1).
        floor: Factor at the end.

    Example:
        >>> import torch
        >>> from dpo_lightning.training.schedules import Cosine
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        >>> scheduler = Cosine(warmup=2, floor=0.1)(optimizer, total_steps=6)
        >>> rates = []
        >>> for _ in range(7):
        ...     rates.append(round(scheduler.get_last_lr()[0], 3))
        ...     optimizer.step()
        ...     scheduler.step()
        >>> rates
        [0.333, 0.667, 1.0, 0.868, 0.55, 0.232, 0.1]
    """

    warmup: Union[int, float] = 0.1
    floor: float = 0.0

    def __post_init__(self) -> None:
        require(self, "schedule", floor=_FACTOR)
        _check_warmup(self.warmup)

    def __call__(self, optimizer: Optimizer, total_steps: float) -> LRScheduler:
        """Return a scheduler with the ramp of the warm-up, then floor + (1 - floor) (1 + cos(pi x progress)) / 2."""
        warmup, decay = _warmup_steps(self.warmup, total_steps), _decay_steps(self, total_steps)

        def factor(step: int) -> float:
            cosine = 0.5 * (1 + math.cos(math.pi * _progress(step, warmup, decay)))
            return _ramp(step, warmup) * (self.floor + (1 - self.floor) * cosine)

        return LambdaLR(optimizer, factor)


def optimizer_steps(trainer: pl.Trainer) -> float:
    """Return the number of optimizer steps of a run; `inf` where it has no end.

    Lightning's own number takes one `accumulate_grad_batches` for all epochs, which a `GradientAccumulationScheduler`
    changes from one to the next, and is -1 for loaders without a length in a run without `max_steps`.
    """
    estimated = trainer.estimated_stepping_batches  # makes the loader
    if estimated < 0:
        return math.inf
    schedulers = [each for each in cast(Any, trainer).callbacks if isinstance(each, GradientAccumulationScheduler)]
    batches, epochs = trainer.num_training_batches, trainer.max_epochs
    if not schedulers or epochs is None or epochs < 0 or math.isinf(batches):
        return estimated
    windows = (schedulers[-1].get_accumulate_grad_batches(epoch) for epoch in range(max(epochs, 1)))
    steps = sum(math.ceil(batches / window) for window in windows)
    return min(steps, trainer.max_steps) if trainer.max_steps >= 0 else steps


def schedule_anew(trainer: pl.Trainer) -> None:
    """Make optimizer and schedule again where a `BatchSizeFinder` has changed the number of steps after they were made.

    To be called in the module's `on_fit_start`: callbacks had theirs, and a checkpoint's optimizer is restored later.
    """
    if any(isinstance(each, BatchSizeFinder) for each in cast(Any, trainer).callbacks):
        trainer.strategy.setup_optimizers(trainer)


def accumulates(trainer: pl.Trainer) -> bool:
    """Return whether an optimizer step of the run has several micro-batches, from the start or later."""
    callbacks = [each for each in cast(Any, trainer).callbacks if isinstance(each, GradientAccumulationScheduler)]
    windows = [trainer.accumulate_grad_batches, *(n for each in callbacks for n in each.scheduling.values())]
    return max(windows) > 1


def _check_warmup(warmup: float) -> None:
    if not 0 <= warmup < (1 if isinstance(warmup, float) else math.inf):
        raise InputError(f"schedule.warmup is a number of steps (int) or a fraction below 1 (float), got {warmup}")


def _warmup_steps(warmup: float, total_steps: float) -> int:
    if isinstance(warmup, int):
        if 0 < total_steps <= warmup:
            rank_zero_warn(
                f"schedule.warmup: {warmup} steps, and the run has {total_steps:g}: the full learning rate is never "
                "reached; write fewer steps, or a fraction of the run"
            )
        return warmup
    if warmup and math.isinf(total_steps):
        raise InputError("schedule.warmup: a fraction of an endless run; set trainer.max_steps or a number of steps")
    return math.ceil(warmup * total_steps) if warmup else 0


def _decay_steps(schedule: Schedule, total_steps: float) -> float:
    if math.isinf(total_steps):
        raise InputError(f"schedule {type(schedule).__name__} needs an end: set trainer.max_steps or max_epochs")
    return total_steps


def _ramp(step: int, warmup: int) -> float:
    return min(1.0, (step + 1) / (warmup + 1))


def _progress(step: int, warmup: int, total_steps: float) -> float:
    return min(1.0, max(0.0, (step - warmup) / max(1.0, total_steps - warmup)))
