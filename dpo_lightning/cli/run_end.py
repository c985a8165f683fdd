"""The end of a fit in words: how it went on held-out pairs, where everything lies, and the next commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from dpo_lightning.report.progress_line import clock, short
from dpo_lightning.utils.files import from_here

_HELD_OUT = {
    "val/loss": "loss",
    "val/rewards/accuracies": "reward accuracy",
    "val/rewards/margins": "margin",
    "val/logratios/chosen": "log-ratio of chosen",
    "val/logratios/rejected": "of rejected",
}


def end_of_fit(trainer: pl.Trainer, config: Path, seconds: float) -> list[str]:
    """Return the lines that a fit ends with.

    Args:
        trainer: The Trainer, after its fit.
        config: Where the run's config was saved; a file that is not there is not named.
        seconds: Duration of the fit.
    """
    values = [
        f"{name} {short(float(trainer.callback_metrics[key]))}"
        for key, name in _HELD_OUT.items()
        if key in trainer.callback_metrics
    ]
    lines = [f"ended at optimizer step {trainer.global_step}, after {clock(seconds)}"]
    lines += [f"held-out pairs: {', '.join(values)}"] if values else []
    return [*lines, *_places(trainer, config), *_next_commands(trainer, config)]


def _places(trainer: pl.Trainer, config: Path) -> Iterator[str]:
    """Yield where config, metrics and checkpoints are, as paths from here."""
    places = {
        "config": config,
        "metrics": None if trainer.log_dir is None else Path(trainer.log_dir),
        "checkpoint": _checkpoint(trainer),
    }
    for name, path in places.items():
        if path is not None and path.exists():
            yield f"{name} in {from_here(path)}"


def _next_commands(trainer: pl.Trainer, config: Path) -> Iterator[str]:
    checkpoint = _checkpoint(trainer)
    if checkpoint is None or not config.exists():
        return
    run, file = (shlex.quote(from_here(path)) for path in (config, checkpoint))
    yield f"next: dpo-lightning validate --config {run} --ckpt_path {file}"
    yield f"      dpo-lightning export {file} --config {run} --out {_free('model')}"


def _free(name: str) -> str:
    """Return a name that nothing has here: an export replaces a model that is there."""
    return next(each for each in chain([name], (f"{name}-{n}" for n in count(2))) if not Path(each).exists())


def _checkpoint(trainer: pl.Trainer) -> Path | None:
    """Return the best checkpoint, or the last one where nothing is measured."""
    callback: Any = trainer.checkpoint_callback
    path = getattr(callback, "best_model_path", "") or getattr(callback, "last_model_path", "")
    return Path(path) if path and Path(path).exists() else None
