"""Makers of the optimizer and of its schedule, as a module is given them, and what they make."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import LBFGS, Optimizer

from dpo_lightning.compat.jsonargparse import class_made
from dpo_lightning.errors import InputError
from dpo_lightning.training.parameters import make_optimizer
from dpo_lightning.training.rate import TunedRate
from dpo_lightning.training.schedules import Schedule, accumulates, optimizer_steps
from dpo_lightning.utils.arguments import wrong_kind
from dpo_lightning.utils.settings import MOMENTUM, NOT_NEGATIVE, Rule
from dpo_lightning.utils.text import one_line

_RULES = {
    **dict.fromkeys(("lr", "weight_decay", "eps", "momentum", "lr_decay", "lambd"), NOT_NEGATIVE),
    **dict.fromkeys(("betas", "alpha", "rho"), MOMENTUM),
}
"""Ranges of the settings that torch's optimizers share; of a tuple, each number must be in it."""

_FINITE = Rule("a finite number", math.isfinite)


def check_makers(optimizer: object, schedule: object) -> None:
    """Refuse what makes no optimizer or no schedule, before a run calls it.

    Raises:
        InputError: for an optimizer that cannot be called, such as its name or one that is made already, and for one of
            torch's with settings that it does not take, or a rate that is negative or not finite; for a schedule that
            is no `Schedule`.
    """
    if not callable(optimizer):
        remedy = "write what makes one of the parameters, such as functools.partial(AdamW, lr=1e-6)"
        raise wrong_kind("optimizer", optimizer, Callable, remedy)  # type: ignore[arg-type]
    if not isinstance(schedule, Schedule):
        raise wrong_kind("schedule", schedule, Schedule, "write Constant(), Linear(), Cosine() or one of your own")
    if isinstance(optimizer, partial):
        for name, value in optimizer.keywords.items():
            _check_setting(name, value)
        _try(optimizer)


def optimization(module: TunedRate, optimizer: Callable[[Any], Optimizer], schedule: Schedule) -> Any:
    """Return what `configure_optimizers` does: the optimizer over the trainable parameters, and the schedule per step.

    Raises:
        InputError: when nothing is trainable, the schedule does not fit the run, or an optimizer that evaluates the
            loss anew has steps of several micro-batches.
    """
    made = make_optimizer(optimizer, module)
    if isinstance(made, LBFGS) and accumulates(module.trainer):
        raise InputError(
            f"{type(made).__name__} evaluates the loss of a step again and again, and would see its last micro-batch "
            "only: leave trainer.accumulate_grad_batches at 1, and raise data.batch_pairs"
        )
    if module.tuned_lr is not None:
        for group in made.param_groups:
            group["lr"] = module.tuned_lr
    scheduler = schedule(made, optimizer_steps(module.trainer))
    if scheduler is None:
        return made
    return {"optimizer": made, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _check_setting(name: str, value: Any) -> None:
    """Check a number, or each one of a tuple; what is no number is left to the optimizer."""
    given = value if isinstance(value, tuple | list) else (value,)
    for each in given:
        if isinstance(each, int | float) and (name in _RULES or not isinstance(each, bool)):
            _RULES.get(name, _FINITE).check(f"model.optimizer.{name}", each)


def _try(maker: partial[Any]) -> None:
    """Make one of torch's optimizers of one weight: it refuses what does not go together, at no cost."""
    kind = class_made(maker)
    if kind is None or not kind.__module__.startswith("torch."):
        return
    try:
        maker([nn.Parameter(torch.zeros(2, 2))])
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"model.optimizer: {kind.__name__}: {one_line(error)}") from error
