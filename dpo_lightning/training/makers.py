"""Makers of the optimizer and of its schedule, as a module is given them, and what they make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

from dpo_lightning.training.parameters import make_optimizer
from dpo_lightning.training.rate import TunedRate
from dpo_lightning.training.schedules import Schedule, optimizer_steps
from dpo_lightning.utils.arguments import wrong_kind


def check_makers(optimizer: object, schedule: object) -> None:
    """Refuse what makes no optimizer or no schedule, before a run calls it.

    Raises:
        InputError: for an optimizer that cannot be called, such as its name or one that is made already; for a schedule
            that is no `Schedule`.
    """
    if not callable(optimizer):
        remedy = "write what makes one of the parameters, such as functools.partial(AdamW, lr=1e-6)"
        raise wrong_kind("optimizer", optimizer, Callable, remedy)  # type: ignore[arg-type]
    if not isinstance(schedule, Schedule):
        raise wrong_kind("schedule", schedule, Schedule, "write Constant(), Linear(), Cosine() or one of your own")


def optimization(module: TunedRate, optimizer: Callable[[Any], Optimizer], schedule: Schedule) -> Any:
    """Return what `configure_optimizers` does: the optimizer over the trainable parameters, and the schedule per step.

    Raises:
        InputError: when nothing is trainable, or the schedule does not fit the run.
    """
    made = make_optimizer(optimizer, module)
    if module.tuned_lr is not None:
        for group in made.param_groups:
            group["lr"] = module.tuned_lr
    scheduler = schedule(made, optimizer_steps(module.trainer))
    if scheduler is None:
        return made
    return {"optimizer": made, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
