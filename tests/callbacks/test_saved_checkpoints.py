"""Checkpoints that a run has left."""

from __future__ import annotations

import os
from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint

from dpo_lightning.callbacks.saved_checkpoints import saved_checkpoints


def saving(path: Path, *, monitor: str | None, written: int) -> ModelCheckpoint:
    """A callback that has written a file at that second."""
    found = ModelCheckpoint(path.parent, monitor=monitor)
    path.write_text("")
    os.utime(path, (written, written))
    found.best_model_path = str(path)
    return found


def places(*callbacks: ModelCheckpoint) -> dict[str, str]:
    """What is found of a Trainer with these callbacks."""
    return saved_checkpoints(pl.Trainer(callbacks=[*callbacks], accelerator="cpu", logger=False))


def test_the_last_is_the_newest_and_the_best_that_which_is_monitored(tmp_path: Path) -> None:
    best = saving(tmp_path / "best.ckpt", monitor="val/loss", written=10)
    last = saving(tmp_path / "last.ckpt", monitor=None, written=20)
    assert places(best, last) == {"best": best.best_model_path, "last": last.best_model_path}
    (tmp_path / "last.ckpt").unlink()
    assert places(best, last) == dict.fromkeys(("best", "last"), best.best_model_path)
    other = saving(tmp_path / "other.ckpt", monitor="val/other", written=5)
    assert places(best, last, other) == {"last": best.best_model_path}


def test_a_run_without_a_checkpoint_has_none() -> None:
    assert places() == {}
