"""Checkpoints that a run has left: the last one, and the best by the metric that is monitored."""

from __future__ import annotations

from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint


def saved_checkpoints(trainer: pl.Trainer) -> dict[str, str]:
    """Return the paths that are there as `last` and `best`; `best` where exactly one callback monitors a metric."""
    saving = [each for each in trainer.checkpoint_callbacks if isinstance(each, ModelCheckpoint)]
    written = {path for each in saving for path in (each.last_model_path, each.best_model_path) if _is_there(path)}
    last = max(written, key=lambda path: Path(path).stat().st_mtime_ns, default=None)
    best = [each.best_model_path for each in saving if each.monitor is not None and _is_there(each.best_model_path)]
    found = {"last": last, "best": best[0] if len(best) == 1 else None}
    return {name: path for name, path in found.items() if path is not None}


def _is_there(path: str) -> bool:
    return bool(path) and Path(path).exists()
