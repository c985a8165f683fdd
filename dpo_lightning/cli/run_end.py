"""The end of a fit in words: how it went on held-out pairs, where everything lies, and the next commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from dpo_lightning.callbacks import Export, HealthHints
from dpo_lightning.report.page.whole import PAGE
from dpo_lightning.report.progress_line import clock
from dpo_lightning.report.verdict import verdict
from dpo_lightning.utils.files import from_here


def end_of_fit(trainer: pl.Trainer, config: Path, seconds: float) -> list[str]:
    """Return the lines that a fit ends with.

    Args:
        trainer: The Trainer, after its fit.
        config: Where the run's config was saved; a file that is not there is not named.
        seconds: Duration of the fit.
    """
    ended = f"ended at optimizer step {trainer.global_step}, after {clock(seconds)}"
    return [ended, *verdict_of(trainer), *_places(trainer, config), *_next_commands(trainer, config)]


def verdict_of(trainer: pl.Trainer) -> list[str]:
    """Return the lines of `verdict` on a Trainer after its fit."""
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    callbacks: list[pl.Callback] = getattr(trainer, "callbacks", [])
    watching = next((each for each in callbacks if isinstance(each, HealthHints)), None)
    validates = sum(getattr(trainer, "num_val_batches", ())) > 0
    seen = (None, None) if watching is None else (watching.held_out, watching.start)
    return verdict(metrics, *seen, validates=validates)


def _places(trainer: pl.Trainer, config: Path) -> Iterator[str]:
    """Yield where config, metrics and checkpoints are, as paths from here."""
    places = {
        "config": config,
        "metrics": None if trainer.log_dir is None else Path(trainer.log_dir),
        "report": config.with_name(PAGE),
        "checkpoint": _checkpoint(trainer),
    }
    for name, path in places.items():
        if path is not None and path.exists():
            yield f"{name} in {from_here(path)}"


def _next_commands(trainer: pl.Trainer, config: Path) -> Iterator[str]:
    for place, command in enumerate(_commands(_checkpoint(trainer), _export(trainer), config)):
        yield f"{'next:' if place == 0 else '     '} dpo-lightning {command}"


def _commands(checkpoint: Path | None, exported: Path | None, config: Path) -> Iterator[str]:
    """Yield what may follow; an export that the run made itself is not to be made again."""
    run, report = (shlex.quote(from_here(path)) for path in (config, config.parent))
    if checkpoint is not None and config.exists():
        file = shlex.quote(from_here(checkpoint))
        yield f"validate --config {run} --ckpt_path {file}"
        yield f"generate {file} --config {run} --reference --prompt TEXT"
        if exported is None:
            yield f"export {file} --config {run} --out {_free('model')}"
    elif exported is not None:
        yield f"generate {shlex.quote(from_here(exported))} --prompt TEXT"
    if config.with_name(PAGE).exists():
        yield f"report {report} ANOTHER_RUN"


def _export(trainer: pl.Trainer) -> Path | None:
    """Return a directory that the run has exported to."""
    callbacks: list[pl.Callback] = getattr(trainer, "callbacks", [])
    paths = [path for each in callbacks if isinstance(each, Export) for path in (each.path, each.merged_path) if path]
    return next((Path(path) for path in paths if Path(path).exists()), None)


def _free(name: str) -> str:
    """Return a name that nothing has here: an export replaces a model that is there."""
    return next(each for each in chain([name], (f"{name}-{n}" for n in count(2))) if not Path(each).exists())


def _checkpoint(trainer: pl.Trainer) -> Path | None:
    """Return the best checkpoint, or the last one where nothing is measured."""
    callback: Any = trainer.checkpoint_callback
    path = getattr(callback, "best_model_path", "") or getattr(callback, "last_model_path", "")
    return Path(path) if path and Path(path).exists() else None
