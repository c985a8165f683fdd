"""The learning-rate schedules of transformers, step by step as its Trainer has them."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass, field
from typing import Any, Union

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dpo_lightning.errors import InputError
from dpo_lightning.training.schedules import Schedule

__all__ = ["TransformersSchedule"]

SCHEDULES = (
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "cosine_with_min_lr",
    "cosine_warmup_with_min_lr",
    "warmup_stable_decay",
)
"""Names of the schedules that are functions of the step."""


@dataclass(frozen=True)
class TransformersSchedule(Schedule):
    """A schedule of `transformers.get_scheduler`, for runs that are to go on as they went there.

    Its warm-up begins at a rate of 0, so that the first optimizer step changes nothing; that of `Linear` and `Cosine`
    begins with a step.

    Args:
        name: As `lr_scheduler_type` of transformers, such as `cosine`.
        warmup: Optimizer steps (int), or a fraction of the run (float below 1).
        settings: Further arguments, as `lr_scheduler_kwargs` there, such as `{min_lr_rate: 0.1}`.

    Example:
        >>> import torch
        >>> from dpo_lightning import TransformersSchedule
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        >>> scheduler = TransformersSchedule("linear", warmup=2)(optimizer, total_steps=4)
        >>> rates = []
        >>> for _ in range(4):
        ...     rates.append(scheduler.get_last_lr()[0])
        ...     optimizer.step()
        ...     scheduler.step()
        >>> rates
        [0.0, 0.5, 1.0, 0.5]
    """

    name: str
    warmup: Union[int, float] = 0
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in SCHEDULES:
            raise InputError(f"schedule.name: no schedule {self.name} of the step; there are {', '.join(SCHEDULES)}")
        if not 0 <= self.warmup < (1 if isinstance(self.warmup, float) else math.inf):
            raise InputError(
                f"schedule.warmup is a number of steps (int) or a fraction below 1 (float), got {self.warmup}"
            )
        unknown = [name for name in self.settings if name not in inspect.signature(_maker(self.name)).parameters]
        if unknown:
            raise InputError(f"schedule.settings: the schedule {self.name} of transformers has no {', '.join(unknown)}")

    def __call__(self, optimizer: Optimizer, total_steps: float) -> LRScheduler:
        """Return the scheduler that `transformers.Trainer` would make.

        Raises:
            InputError: for a run without an end, and settings that the schedule does not take together.
        """
        from transformers import get_scheduler

        if math.isinf(total_steps):
            raise InputError(f"schedule {self.name} needs an end: set trainer.max_steps or max_epochs")
        warmup = self.warmup if isinstance(self.warmup, int) else math.ceil(self.warmup * total_steps)
        try:
            made: LRScheduler = get_scheduler(self.name, optimizer, warmup, int(total_steps), dict(self.settings))
        except (TypeError, ValueError) as error:
            raise InputError(f"schedule.settings of {self.name}: {error}") from None
        return made


def _maker(name: str) -> Any:
    from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION
    from transformers.trainer_utils import SchedulerType

    return TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(name)]
