"""The Trainer's settings that a config leaves out: one pass over the data, and a line that shows how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar, Timer
from lightning.pytorch.utilities import rank_zero_info

from dpo_lightning.callbacks import KeepRecord, ProgressLine

LOG_EVERY_N_STEPS = 10  # Lightning's 50 leave a run of 40 steps without a value


def limit_epochs(trainer: Any) -> None:
    """Let a fit without any limit make one pass over the data, and say so: Lightning's default is 1000.

    Args:
        trainer: Settings of the Trainer, as the parser read them; `max_epochs` is set in place.
    """
    limited = trainer.get("max_epochs") is not None or trainer.get("max_steps", -1) != -1
    timed = trainer.get("max_time") is not None or any(map(_is_timer, _callbacks(trainer)))
    if not (limited or timed or trainer.get("fast_dev_run")):
        trainer["max_epochs"] = 1
        rank_zero_info("trainer.max_epochs is not set: one pass over the data")


def _callbacks(trainer: Any) -> list[Any]:
    """Return the callbacks, which are a list, a single one, or none."""
    named = trainer.get("callbacks") or []
    return list(named) if isinstance(named, list) else [named]


def _is_timer(callback: Any) -> bool:
    return str(callback.get("class_path")).rpartition(".")[2] == Timer.__name__


def with_progress(trainer: Mapping[str, Any]) -> list[pl.Callback]:
    """Return the Trainer's callbacks, behind a `ProgressLine` where no other progress bar is named and none unwanted.

    It stands first, so that it is gone when the others say how the run ended.
    """
    callbacks = _callbacks(trainer)
    unwanted = trainer.get("enable_progress_bar") is False or trainer.get("barebones")
    if unwanted or any(isinstance(callback, ProgressBar) for callback in callbacks):
        return callbacks
    return [ProgressLine(), *callbacks]


def with_record(callbacks: list[pl.Callback], words: list[str] | None) -> list[pl.Callback]:
    """Return the callbacks of a fit, and behind them what keeps its record, where none of them does.

    Args:
        callbacks: Those of the Trainer.
        words: Words of the command line; None without one.
    """
    command = None if words is None else ["dpo-lightning", *words]
    own = [callback for callback in callbacks if isinstance(callback, KeepRecord)]
    for callback in own:
        callback.command = callback.command or command
    return callbacks if own else [*callbacks, KeepRecord(command)]
