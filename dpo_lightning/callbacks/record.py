"""The record of a run, written while it runs: facts and curves."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Optional

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.exceptions import SIGTERMException

from dpo_lightning.callbacks.export import Export
from dpo_lightning.callbacks.fit_verdict import verdict_of
from dpo_lightning.callbacks.held_out_scores import HeldOutScores
from dpo_lightning.callbacks.record_places import beginning, begins_anew, points_up_to, record_of, set_aside
from dpo_lightning.callbacks.run_facts import facts_of, memory_peak
from dpo_lightning.callbacks.saved_checkpoints import saved_checkpoints
from dpo_lightning.checkpoints.contents import CALLBACKS
from dpo_lightning.report.history import History, Point
from dpo_lightning.report.point_logger import PointLogger
from dpo_lightning.report.record import RunRecord, add_row, write_document, write_rows
from dpo_lightning.report.replay import replay
from dpo_lightning.run import preference_batch_of
from dpo_lightning.utils.files import spared
from dpo_lightning.utils.kinds import check_arguments
from dpo_lightning.utils.secrets import masked_command
from dpo_lightning.utils.text import one_line
from dpo_lightning.utils.trainers import is_fitting


class KeepRecord(pl.Callback):
    """Keeps the record of a fit in `<trainer.log_dir>/record/`, see `RunRecord`: what ran, its curves, how it ended.

    Each point is in `metrics.jsonl` as soon as it is logged, so that a run that is killed has its curves. A run that
    goes on from a checkpoint has the points up to there again, in its own record and in `CSVLogger` and `PlotLogger`,
    so that one file has the curve of the whole run. A run without a logger, or under `fast_dev_run`, keeps none.

    The command adds it to every fit.

    Args:
        command: Words of the command that runs, which the command itself gives.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from lightning.pytorch.loggers import CSVLogger
        >>> from dpo_lightning.callbacks import KeepRecord
        >>> trainer = Trainer(max_steps=100, logger=CSVLogger("runs"), callbacks=[KeepRecord()])
        >>> trainer.log_dir  # after trainer.fit(module, data), with record/run.json, record/metrics.jsonl, ...
        'runs/lightning_logs/version_0'
    """

    def __init__(self, command: Optional[list[str]] = None) -> None:
        check_arguments(KeepRecord, locals(), "KeepRecord.")
        self.command = command
        self._logger = PointLogger(self._take)
        self._record: RunRecord | None = None
        self._is_open = False
        self._history = History()
        self._whole: list[Point] = []  # those up to the first batch, of which the history may be a part
        self._restored: Mapping[str, Any] = {}
        self._resumed: list[dict[str, Any]] = []
        self._began = ""
        self._before = 0.0  # seconds of earlier attempts
        self._since: float | None = None  # start of this one
        self._facts: dict[str, Any] = {}
        self._scores = HeldOutScores()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Find out where the record lies, and listen to what is logged."""
        if stage != "fit":
            return
        self._record, self._is_open, self._restored = None, False, {}
        self._record = record_of(trainer)
        if self._record is not None:
            self._listen(trainer)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the record of an earlier run in the same place."""
        if begins_anew(trainer):
            set_aside(trainer, self._record)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep it, too, where the run that goes on is another one."""
        if self._record is not None and is_fitting(trainer):
            began = checkpoint.get(CALLBACKS, {}).get(self.state_key, {}).get("began")
            if began is None or began != beginning(self._record):
                set_aside(trainer, self._record)

    def _listen(self, trainer: pl.Trainer) -> None:
        """Stand behind the user's loggers, the first of which is the Trainer's `logger`."""
        self._leave(trainer)
        trainer.loggers = [*trainer.loggers, self._logger]

    def _leave(self, trainer: pl.Trainer) -> None:
        trainer.loggers = [each for each in trainer.loggers if each is not self._logger]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the record of the run that goes on until its training starts."""
        self._restored = state_dict

    def state_dict(self) -> dict[str, Any]:
        """The curves so far, when the run began, how long it took, where it was resumed, and where its record lies."""
        if self._record is None:
            return {}
        return {
            "history": self._history.packed(),
            "began": self._began,
            "seconds": self._seconds(),
            "resumed": [dict(each) for each in self._resumed],
            "directory": str(self._record.run),
        }

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin a history, or go on with that of the checkpoint; a second fit of one Trainer goes on with its own."""
        if self._record is None:
            return
        resumed = trainer.ckpt_path is not None
        if resumed or not trainer.global_step or not self._began:
            now = _now()
            state = self._restored if resumed else {}
            self._history = History.of(state.get("history", ()))
            self._began, self._before = str(state.get("began", now)), float(state.get("seconds", 0.0))
            self._resumed = [*state.get("resumed", ())]
        self._since = time.monotonic()
        if resumed:
            self._resumed.append({"from": str(trainer.ckpt_path), "step": trainer.global_step, "at": _now()})
        self._whole = self._history.points
        if pl_module.automatic_optimization and trainer.is_global_zero:
            given = self._restored.get("directory") if resumed else self._record.run
            earlier = RunRecord(Path(str(given))) if given else None
            self._whole = points_up_to(trainer.global_step, self._history, earlier, self._began)
            self._history = History(self._whole)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Write the record's beginning before the first batch: a run that is refused until then leaves none."""
        self._open(trainer, pl_module)

    def _open(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._record is None or self._is_open:
            return
        self._is_open = True
        self._facts = _facts(trainer, pl_module)
        if not trainer.is_global_zero:
            return
        if trainer.ckpt_path is not None:
            replay(self._whole, trainer.loggers)
        with spared(self._record.points):
            write_rows(self._record.points, (point.row() for point in self._whole))
            self._whole = []
            for path in (self._record.pairs, self._record.worst):  # those of an earlier run in the same place
                path.unlink(missing_ok=True)
        self._write(trainer, "running")

    def _take(self, step: int, values: Mapping[str, float]) -> None:
        point = Point(step, self._seconds(), values)
        is_new = self._history.add(point)
        if is_new and not self._is_open:
            self._whole.append(point)
        if is_new and self._is_open and self._record is not None:
            with spared(self._record.points):
                add_row(self._record.points, point.row())

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to collect scores; a run that goes on may begin with a validation."""
        self._scores.begin()
        if is_fitting(trainer) and not trainer.sanity_checking:
            self._open(trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect the scores of each example, on the device."""
        if self._is_open and not trainer.sanity_checking:
            self._scores.add(outputs, lambda: preference_batch_of(pl_module, batch), dataloader_idx)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the scores of the validation, the pairs that are most wrong, and how far the run is."""
        if not self._is_open or self._record is None or trainer.sanity_checking:
            return
        self._scores.write(trainer, self._record)
        self._write(trainer, "running")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Say that the run was stopped, or why it failed."""
        is_stop = isinstance(exception, KeyboardInterrupt | SIGTERMException)
        said = {} if is_stop else {"verdict": [one_line(f"{type(exception).__name__}: {exception}", 500)]}
        self._end(trainer, "stopped" if is_stop else "failed", said)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Say how the run ended, once other callbacks have done their part."""
        planned = self._facts.get("steps_planned")
        is_short = planned is not None and trainer.global_step < planned
        said = {"verdict": verdict_of(trainer)} if self._is_open else {}  # on every rank: a mean may be one over ranks
        self._end(trainer, "stopped" if is_short else "finished", said)

    def _end(self, trainer: pl.Trainer, status: str, said: Mapping[str, Any]) -> None:
        if self._is_open:
            self._write(trainer, status, ended=_now(), **said)
        self._is_open = False
        self._before, self._since = self._seconds(), None
        self._leave(trainer)

    def _write(self, trainer: pl.Trainer, status: str, ended: str | None = None, **said: Any) -> None:
        if self._record is None or not trainer.is_global_zero:
            return
        facts = {
            "format": 1,
            "command": None if self.command is None else masked_command(self.command),
            "began": self._began,
            "ended": ended,
            "seconds": round(self._seconds(), 3),
            "status": status,
            "step": trainer.global_step,
            "epoch": _epoch(trainer),
            **self._facts,
            "resumed": self._resumed,
            "places": _places(trainer, self._record.run),
            "memory_peak": memory_peak(trainer),
            "validated": self._scores.validated,
            **said,
        }
        with spared(self._record.facts):
            write_document(self._record.facts, {name: value for name, value in facts.items() if _is_known(name, value)})

    def _seconds(self) -> float:
        return self._before + (0.0 if self._since is None else time.monotonic() - self._since)


def _is_known(name: str, value: Any) -> bool:
    return value is not None or name in ("command", "ended")


def _facts(trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
    """Return the facts of a run, none where a module of the user's cannot be asked: that ends no run."""
    try:
        return facts_of(trainer, pl_module)
    except Exception as error:
        rank_zero_warn(f"the record of this run lacks its settings: {type(error).__name__}: {one_line(error)}")
        return {}


def _epoch(trainer: pl.Trainer) -> float:
    """Return the epochs that are done, with the part of the one that is under way."""
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress
    within = 0.0 if progress.is_last_batch else progress.current.processed / max(trainer.num_training_batches, 1)
    return round(trainer.current_epoch + within, 4)


def _places(trainer: pl.Trainer, directory: Path) -> dict[str, str]:
    """Return where config, checkpoints and exported model lie, as far as they are there; where the run was started."""
    checkpoint: Any = trainer.checkpoint_callback
    saved = getattr(checkpoint, "best_model_path", "") or getattr(checkpoint, "last_model_path", "")
    exports = [each for each in trainer.callbacks if isinstance(each, Export)]  # type: ignore[attr-defined]
    models = [path for each in exports for path in (each.merged_path, each.path) if path is not None]
    places: dict[str, Any] = {"started_in": Path.cwd(), "home": os.path.expanduser("~")}
    places |= {"config": directory / "config.yaml", "checkpoint": saved, "export": next(iter(models), "")}
    places |= saved_checkpoints(trainer)
    return {name: str(Path(path).absolute()) for name, path in places.items() if str(path) and Path(path).exists()}


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
