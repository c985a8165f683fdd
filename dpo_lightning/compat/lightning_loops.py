"""Lightning's loop counters at the end of an optimizer step, in the one form that its restart takes for just that.

Lightning has no public way to say where a restart begins: it guesses from the differences of counters, whose names are
the keys of `FitLoop.state_dict()`. Where these change, a resumed run is off by a step, or validates at another place.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, NamedTuple

import lightning.pytorch as pl
from lightning.pytorch.loops.optimization.automatic import Closure
from torch import Tensor

from dpo_lightning.compat.lightning_counters import counters_of, level

_BATCHES, _EPOCHS = "epoch_loop.batch_progress", "epoch_progress"
_VALIDATION, _EPOCH_LOOP = "epoch_loop.val_loop.batch_progress", "epoch_loop.state_dict"
_TRACKERS = ("total", "current")
# To Lightning this is an evaluation that was interrupted in its first batch: it runs the whole of it.
_DUE = {"ready": 1, "started": 1, "processed": 0, "completed": 0}


class Moment(str, Enum):
    """The part of an optimizer step that is done when a checkpoint is taken."""

    START = "start"
    STEP = "step"
    VALIDATION = "validation"
    EPOCH = "epoch"


BETWEEN_EPOCHS = (Moment.START, Moment.EPOCH)
_LOGGED = "_batches_that_stepped"
_HELD = "held"  # an interval that Lightning never asks for


def loop_state(trainer: pl.Trainer, moment: Moment) -> dict[str, Any]:
    """Return the state of the fit loop after the last optimizer step.

    Touches the keys of `FitLoop.state_dict()`. Lightning writes its counters as they stand in the hook that saves, and
    guesses on restart from their differences where that was: a validation that was due is lost, a run that stopped in
    mid-epoch goes on with the next one.

    Args:
        trainer: In a hook after the step.
        moment: After `STEP`, validation is run on restart where it is due; after `VALIDATION` it is not; after
            `EPOCH` the next epoch begins, and after `START` the first one of the fit.
    """
    state = counters_of(trainer.fit_loop)
    batches, epochs, validation = state[_BATCHES], state[_EPOCHS], state[_VALIDATION]
    for tracker in _TRACKERS:
        level(batches[tracker], batches[tracker]["processed"])
        if moment is Moment.STEP:
            validation[tracker] = dict(_DUE)
        else:
            level(validation[tracker], 0)
    if moment in BETWEEN_EPOCHS:
        _finish_epoch(batches, epochs)
    return state


def _finish_epoch(batches: dict[str, Any], epochs: dict[str, Any]) -> None:
    batches["is_last_batch"] = False
    level(batches["current"], 0)
    for tracker in _TRACKERS:
        level(epochs[tracker], epochs[tracker]["ready"])


def batches_done(state: dict[str, Any]) -> int:
    """Return the number of batches of the epoch that a fit loop's state has behind it; touches its keys."""
    return state[_BATCHES]["current"]["processed"]


def resume_epoch(trainer: pl.Trainer, reported: dict[str, Tensor]) -> None:
    """Let the end of a resumed epoch be that of any: with the metrics that callbacks and schedulers watch.

    Touches `FitLoop._restarting`: its public setter would reset the loops inside, which are to restart. Lightning
    leaves a plateau scheduler out at the end of such an epoch, and forgets the values of the last validation, which
    go into the dict that `Trainer.callback_metrics` returns.
    """
    trainer.fit_loop._restarting = False
    trainer.callback_metrics.update(reported)


def begin_epoch_anew(trainer: pl.Trainer, *, iterates: bool) -> None:
    """After a restart between epochs, make the next one like any other: `iterates` begins its loaders now.

    Touches `FitLoop._resuming_from_checkpoint`: else a loader goes on that began with other random numbers.
    """
    trainer.fit_loop.epoch_loop.restarting = False
    trainer.fit_loop._resuming_from_checkpoint = not iterates


def align_logged_step(trainer: pl.Trainer, state: dict[str, Any], moment: Moment) -> None:
    """Log at the optimizer step: a restart adds one to Lightning's own count of it in some cases.

    Touches `_TrainingEpochLoop._batches_that_stepped`, which `Trainer.log` takes as the step and nothing public sets.

    Args:
        trainer: In the first batch after the restart.
        state: The fit loop's in the checkpoint.
        moment: The checkpoint's: after a step Lightning has not yet counted it.
    """
    logged = trainer.global_step
    if not trainer.lightning_module.automatic_optimization:  # two optimizers make two steps of a batch
        logged = state[_EPOCH_LOOP][_LOGGED] + (moment not in BETWEEN_EPOCHS)
    trainer.fit_loop.epoch_loop._batches_that_stepped = logged


def logs_this_step(trainer: pl.Trainer) -> bool:
    """Return whether loggers get the values of the optimizer step that is being made.

    Touches `_LoggerConnector.should_update_logs`, Lightning's own answer: it counts batches that stepped, of which two
    optimizers make one. Where it changes, means are logged at other steps than Lightning writes.
    """
    return bool(trainer._logger_connector.should_update_logs)


def batches_begun(trainer: pl.Trainer) -> int:
    """Return the number of batches of the whole run that were begun."""
    return trainer.fit_loop.epoch_loop.batch_progress.total.ready


def all_batches_done(state: dict[str, Any]) -> int:
    """Return the number of batches of the whole run that a fit loop's state has behind it; touches its keys."""
    return state[_BATCHES]["total"]["processed"]


def schedule_steps(trainer: pl.Trainer) -> int:
    """Return how often a schedule of the run has moved; what moves by a metric moves after the rest."""
    return trainer.fit_loop.epoch_loop.scheduler_progress.total.completed


def hold_plateaus(trainer: pl.Trainer) -> Callable[[], None]:
    """Keep the schedules that watch a metric after each step from moving; return what lets them move again.

    A restart moves them once more where it leaves a validation out, and not at all where none is due.
    """
    held = [config for config in trainer.lr_scheduler_configs if config.reduce_on_plateau and config.interval == "step"]
    for config in held:
        config.interval = _HELD

    def release() -> None:
        for config in held:
            config.interval = "step"

    return release


def move_plateaus(trainer: pl.Trainer, interval: str, done: int) -> None:
    """Move the schedules that watch a metric, as Lightning does after a step's validation and after an epoch.

    Args:
        trainer: In a hook, with the metrics that were reported.
        interval: `step` or `epoch`.
        done: Batches of the epoch, or epochs, that are done.
    """
    for config in trainer.lr_scheduler_configs:
        if config.reduce_on_plateau and config.interval == interval and done % config.frequency == 0:
            value = trainer.callback_metrics.get(str(config.monitor))
            if value is not None:
                trainer.lightning_module.lr_scheduler_step(config.scheduler, value)


def step_is_done(trainer: pl.Trainer) -> bool:
    """Return whether the micro-batch was the last one of its optimizer step.

    Touches `FitLoop._should_accumulate`, Lightning's only answer: windows are cut short at the end of an epoch.
    """
    return not trainer.fit_loop._should_accumulate()


def epoch_is_done(trainer: pl.Trainer) -> bool:
    """Return whether every batch of the epoch was taken: a run can stop before.

    `_TrainingEpochLoop._num_ready_batches_reached`, by the public counters that it compares.
    """
    progress = trainer.fit_loop.epoch_loop.batch_progress
    return progress.current.ready == trainer.num_training_batches or progress.is_last_batch


def epoch_has_begun(trainer: pl.Trainer, state: dict[str, Any]) -> bool:
    """Return whether an epoch has begun after those that a fit loop's state knows of; touches its keys."""
    return trainer.fit_loop.epoch_progress.current.ready > state[_EPOCHS]["current"]["ready"]


def forget_logged(trainer: pl.Trainer, names: Iterable[str]) -> None:
    """Leave values out of the next log, for means of which this interval has none.

    Touches `Trainer._results`, the running loop's dict of values, whose keys are the hook and the name, joined by a
    dot. What is not logged anew, Lightning logs once more as if it were of now, and it has no public way to take a
    value back.
    """
    results: Any = trainer._results
    ends = tuple(f".{name}" for name in names)
    for key in [key for key in results if key.endswith(ends)]:
        del results[key]


def evaluated_loaders(trainer: pl.Trainer) -> tuple[Any, int]:
    """Return the loaders that are evaluated or predicted, in training those to come, as given, and how many there are.

    Touches `Trainer._active_loop`, its `_combined_loader` and the `_mode` of that: in every mode but `sequential` all
    loaders together make one batch, and are one set; nothing public tells which it is.
    """
    loop: Any = trainer.fit_loop.epoch_loop.val_loop if trainer.training else trainer._active_loop
    loader = loop._combined_loader
    if loader._mode != "sequential":
        return None, 1
    return loader.iterables, len(loader.flattened)


class Fetching(NamedTuple):
    """The iteration over the training loaders that is under way.

    Attributes:
        asked: Batches of the epoch that were asked for.
        begins: Whether none was given yet: then `asked` is what a restore says.
        cycled: Whether a loader that ends before the epoch begins anew.
        loaders: What is iterated over, in order.
    """

    asked: int
    begins: bool
    cycled: bool
    loaders: list[Any]


def fetching_of(trainer: pl.Trainer) -> Fetching | None:
    """Return the iteration over the training loaders that is under way; None outside of it.

    Touches `FitLoop._combined_loader` with its `_mode` and `_iterator`, and `FitLoop._data_fetcher`. A loader is asked
    for an iterator alone, and nothing public tells it in which epoch of Lightning's, and where, that is.
    """
    loop = trainer.fit_loop
    combined, fetcher = loop._combined_loader, loop._data_fetcher
    if combined is None or fetcher is None or combined._iterator is None:
        return None
    # The counter is behind by the batches that a loader without a length has fetched before.
    ready = loop.epoch_loop.batch_progress.current.ready
    return Fetching(
        asked=max(ready, fetcher.fetched),
        begins=combined._iterator._idx == 0,
        cycled=combined._mode == "max_size_cycle" and len(combined.flattened) > 1,
        loaders=list(combined._iterator.iterables),
    )


def with_training_loaders(trainer: pl.Trainer, change: Callable[[Fetching], list[Any]]) -> Callable[[], None]:
    """Let a restored fit iterate over other loaders in their places, in the epoch that it goes on with.

    Touches the same, and `FitLoop._load_combined_loader_states`: the loaders are built before the counters and their
    own states are restored, and so those states would never be loaded.

    Args:
        trainer: In `on_train_start`.
        change: Makes the loaders out of those that are there; asked only in a fit that was restored.

    Returns:
        A function that puts the first ones back for the next epoch; the iteration that is under way keeps the others.
    """
    loop = trainer.fit_loop
    if not loop.restarting:
        return lambda: None
    loop.setup_data()  # where they are to be reloaded, do it now
    combined, fetcher, fetching = loop._combined_loader, loop._data_fetcher, fetching_of(trainer)
    if combined is None or fetcher is None or fetching is None:
        return lambda: None
    loop._load_combined_loader_states()
    first = combined.flattened
    combined.flattened = change(fetching)
    iter(fetcher)

    def put_back() -> None:
        combined.flattened = first

    return put_back


def is_of_training_step(error: BaseException) -> bool:
    """Return whether an error came out of a training step: its forward, its backward, or a hook between them.

    Touches the names of the functions that run it, `Closure.closure` and, where one optimizes by hand, `training_step`:
    Lightning tells `on_exception` no place.
    """
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(_runs_a_step(frame.f_code.co_name, frame.f_locals.get("self")) for frame in frames)


def _runs_a_step(name: str, owner: object) -> bool:
    if name == "closure":
        return isinstance(owner, Closure)
    return name == "training_step" and isinstance(owner, pl.LightningModule)
