"""Lightning's loop counters at the end of an optimizer step, in the one form that its restart takes for just that."""

from __future__ import annotations

from enum import Enum
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

_TRACKERS = ("total", "current")
# To Lightning this is an evaluation that was interrupted in its first batch: it runs the whole of it.
_DUE = {"ready": 1, "started": 1, "processed": 0, "completed": 0}


class Moment(str, Enum):
    """What of an optimizer step is behind a checkpoint."""

    STEP = "step"
    VALIDATION = "validation"
    EPOCH = "epoch"


def loop_state(trainer: pl.Trainer, moment: Moment) -> dict[str, Any]:
    """State of the fit loop after the last optimizer step.

    Lightning writes its counters as they stand in the hook that saves, and guesses on restart from their differences
    where that was: a validation that was due is lost, a run that stopped in mid-epoch goes on with the next one.

    Args:
        trainer: In a hook after the step.
        moment: After ``STEP``, validation is run on restart where it is due; after ``VALIDATION`` it is not; after
            ``EPOCH`` the next epoch begins.
    """
    state = trainer.fit_loop.state_dict()
    batches, epochs = state["epoch_loop.batch_progress"], state["epoch_progress"]
    validation = state["epoch_loop.val_loop.batch_progress"]
    for tracker in _TRACKERS:
        _level(batches[tracker], batches[tracker]["processed"])
        if moment is Moment.STEP:
            validation[tracker] = dict(_DUE)
        else:
            _level(validation[tracker], 0)
    if moment is Moment.EPOCH:
        _finish_epoch(batches, epochs)
    return state


def _finish_epoch(batches: dict[str, Any], epochs: dict[str, Any]) -> None:
    batches["is_last_batch"] = False
    _level(batches["current"], 0)
    for tracker in _TRACKERS:
        _level(epochs[tracker], epochs[tracker]["ready"])


def _level(tracker: dict[str, int], value: int) -> None:
    for name in tracker:
        tracker[name] = value


def batches_done(state: dict[str, Any]) -> int:
    """Batches of the epoch that a fit loop's state has behind it."""
    return state["epoch_loop.batch_progress"]["current"]["processed"]


def resume_epoch(trainer: pl.Trainer, reported: dict[str, Tensor]) -> None:
    """After a restart, let the end of the epoch be that of any: with the metrics that callbacks and schedulers watch.

    Lightning forgets the values of the last validation, and leaves a plateau scheduler out at the end of such an epoch.
    """
    trainer.fit_loop._restarting = False
    trainer._logger_connector._callback_metrics.update(reported)


def begin_epoch_anew(trainer: pl.Trainer) -> None:
    """After a restart at ``Moment.EPOCH``: the next epoch is an epoch like any other."""
    trainer.fit_loop.epoch_loop.restarting = False


def align_logged_step(trainer: pl.Trainer) -> None:
    """Log at the optimizer step: a restart adds one to Lightning's own count of it in some cases."""
    trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step


def step_is_done(trainer: pl.Trainer) -> bool:
    """Whether the micro-batch was the last one of its optimizer step."""
    return not trainer.fit_loop._should_accumulate()


def epoch_is_done(trainer: pl.Trainer) -> bool:
    """Whether every batch of the epoch was taken: a run can stop before."""
    return trainer.fit_loop.epoch_loop._num_ready_batches_reached()
