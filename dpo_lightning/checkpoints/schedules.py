"""Schedules of a run that goes on: their settings, and the step that they have come to."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import lightning.pytorch as pl
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from dpo_lightning.checkpoints.settings import Difference, differences

# What follows from the optimizer's rates, and functions, whose settings nobody can see.
_NO_SETTINGS = ("base_lrs", "_last_lr", "lr_lambdas")


def schedule_settings(scheduler: Any) -> dict[str, Any]:
    """Return the state of a schedule that has just been made, in plain types: its settings, and where it begins."""
    return _plain(scheduler.state_dict())


def other_settings_of(scheduler: Any, before: Mapping[str, Any]) -> list[Difference]:
    """Return the settings that differ from those of a checkpoint's run, which torch would put in their place.

    Args:
        scheduler: A schedule that has just been made.
        before: What `schedule_settings` gave of the checkpoint's at the start of its fit.
    """
    return differences("schedule", before, schedule_settings(scheduler))


def depends_on_steps(scheduler: Any) -> bool:
    """Return whether a schedule is a function of the step, and so can be brought to any."""
    return not isinstance(scheduler, ReduceLROnPlateau)


def asked_state(scheduler: Any, names: set[str]) -> dict[str, Any]:
    """Return the entries of a schedule's state that hold its settings of these names, as `schedule.patience`."""
    return {key: value for key, value in scheduler.state_dict().items() if f"schedule.{key}" in names}


def steps_taken(trainer: pl.Trainer, scheduler: Any) -> int:
    """Return how often a Trainer has stepped a schedule until now."""
    for each in trainer.lr_scheduler_configs:
        if each.scheduler is scheduler:
            done = trainer.current_epoch if each.interval == "epoch" else trainer.global_step
            return done // each.frequency
    return trainer.global_step


def take_steps(scheduler: Any, steps: int) -> None:
    """Bring a schedule that has no saved state to a step; one that waits for a metric begins anew."""
    if isinstance(scheduler, LambdaLR):
        scheduler.last_epoch = steps
    elif depends_on_steps(scheduler):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
            for _ in range(steps):
                scheduler.step()


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    return dict(_plain_entries(state))


def _plain_entries(state: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in state.items():
        if isinstance(value, Counter):  # milestones
            yield str(key), sorted(value.elements())
        elif isinstance(value, Mapping):
            yield str(key), _plain(value)
        elif isinstance(value, list | tuple) and value and all(isinstance(each, Mapping) for each in value):
            yield str(key), {str(place): _plain(each) for place, each in enumerate(value)}
        elif key not in _NO_SETTINGS and is_plain(value):
            yield str(key), list(value) if isinstance(value, list | tuple) else value


def is_plain(value: Any) -> bool:
    """Return whether a value is a number, a text, a bool, null, or a list of such."""
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return type(value) in (bool, int, float, str, type(None))
