"""The place of a run's record, and what an earlier run has left there."""

from __future__ import annotations

import shutil
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from dpo_lightning.errors import InputError
from dpo_lightning.report.history import MOST_POINTS, History, Point
from dpo_lightning.report.record import RunRecord, read_document, read_rows
from dpo_lightning.utils.files import from_here, is_local, spared
from dpo_lightning.utils.ranks import from_rank_zero
from dpo_lightning.utils.text import one_line


def record_of(trainer: pl.Trainer) -> RunRecord | None:
    """Return where the record of a fit lies; every rank must call, and gets the same.

    None where none is kept: without a logger on rank 0, under `fast_dev_run`, and in another file system than this
    machine's.
    """
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        return None
    directory = str(trainer.log_dir or trainer.default_root_dir)
    is_logged = from_rank_zero(bool(trainer.loggers))  # other ranks may have no logger, and still have to answer
    return RunRecord(Path(directory).absolute()) if is_logged and is_local(directory) else None


def begins_anew(trainer: pl.Trainer) -> bool:
    """Return whether a fit that starts is neither from a checkpoint nor a second one of its Trainer."""
    return trainer.ckpt_path is None and not trainer.global_step


def set_aside(trainer: pl.Trainer, record: RunRecord | None) -> None:
    """Move the record of an earlier run to `earlier-1` (2, 3, ...) beside it, with its config, and say so; on rank 0.

    Loggers that number their runs give each a directory; others give all the same, as W&B's, or none.
    """
    if record is None or not trainer.is_global_zero or not record.folder.is_dir():
        return
    place = next(each for each in (record.run / f"earlier-{n}" for n in count(1)) if not each.exists())
    with spared(place):
        place.mkdir()
        config = record.run / "config.yaml"
        if config.is_file():
            shutil.copy(config, place / config.name)
        record.folder.rename(place / record.folder.name)
        rank_zero_info(f"the record of an earlier run is in {from_here(place)} now")


def beginning(record: RunRecord) -> Any:
    """Return when the run began that has left a record, which tells it from others; None where it cannot be read."""
    with suppress(InputError):
        return (read_document(record.facts) or {}).get("began")
    return None


def points_up_to(step: int, history: History, record: RunRecord | None, began: str) -> list[Point]:
    """Return the points of a run up to a step, with what its history lacks of them: those of the very step it is of.

    Of a long run the history has a part, and the record all.

    Args:
        step: The step of the checkpoint.
        history: That of the checkpoint.
        record: The record of the run up to there, or further; None where it is not known.
        began: When the run began: a record of another one, which writes there now, is not read.
    """
    own, found = history.points, list[Point]()
    try:
        if record is not None and beginning(record) == began:
            found = [point for point in map(Point.of_row, read_rows(record.points)) if point.step <= step]
    except (InputError, KeyError, TypeError, ValueError) as error:
        rank_zero_warn(f"points of the run before this resume are left out: {one_line(error)}")
    if len(found) > len(own) >= MOST_POINTS // 4:
        return found
    whole = History(own)
    for point in found:
        if not own or own[-1].step <= point.step:
            whole.add(point)
    return whole.points
