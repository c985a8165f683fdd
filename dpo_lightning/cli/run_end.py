"""The end of a fit in words: how it went on held-out pairs, where everything lies, and the next commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping, Timer
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.exceptions import SIGTERMException

from dpo_lightning.callbacks import Export
from dpo_lightning.callbacks.fit_verdict import verdict_of
from dpo_lightning.cli.fit_config import saved_config
from dpo_lightning.cli.last_checkpoint import finds_last
from dpo_lightning.report.page.whole import PAGE
from dpo_lightning.report.progress_line import clock
from dpo_lightning.report.record import RunRecord
from dpo_lightning.utils.files import from_here

_WIDEST = 79  # columns: a full row wraps in some terminals
_PROMPT = "Say hello."


class SaysHowToGoOn(pl.Callback):
    """Says the command that goes on with a fit which a signal has stopped, where a checkpoint will be found."""

    def __init__(self) -> None:
        self.config: Path | None = None
        """File of the run's config, once training has begun."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find out where the config is saved, while every rank comes here."""
        self.config = saved_config(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Say it; the checkpoint of this moment may still be on its way."""
        is_stop = isinstance(exception, KeyboardInterrupt | SIGTERMException)
        if is_stop and finds_last(trainer) and self.config is not None and self.config.exists():
            rank_zero_info(_listed([_resume(self.config, "last")])[0])


def end_of_fit(trainer: pl.Trainer, config: Path, seconds: float) -> list[str]:
    """Return the lines that a fit ends with.

    Args:
        trainer: The Trainer, after its fit.
        config: Where the run's config was saved; a file that is not there is not named.
        seconds: Duration of the fit.
    """
    ended = f"ended at optimizer step {trainer.global_step}, after {clock(seconds)}"
    return [ended, *verdict_of(trainer), *_places(trainer, config), *_listed([*_next_commands(trainer, config)])]


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


def _next_commands(trainer: pl.Trainer, config: Path) -> Iterator[list[str]]:
    """Yield what may be done next, each as the parts of a command that stay together in a line."""
    checkpoint, exported = _checkpoint(trainer), _export(trainer)
    run, says = f"--config {_typed(config)}", f"--prompt {shlex.quote(_PROMPT)}"
    if checkpoint is not None and config.exists():
        file = _typed(checkpoint)
        if _may_go_on(trainer):
            yield _resume(config, file)
        yield ["dpo-lightning validate", run, f"--ckpt_path {file}"]
        yield ["dpo-lightning generate", file, run, says]
    elif exported is not None:
        yield ["dpo-lightning generate", _typed(exported), says]
    if RunRecord(config.parent).facts.exists():
        yield ["dpo-lightning report", _typed(config.parent)]
    if checkpoint is not None and exported is None and config.exists():
        yield ["dpo-lightning export", _typed(checkpoint), run, f"--out {_free('model')}"]


def _export(trainer: pl.Trainer) -> Path | None:
    """Return a directory that the run has exported to: it need not be made again."""
    callbacks: list[pl.Callback] = getattr(trainer, "callbacks", [])
    paths = [path for each in callbacks if isinstance(each, Export) for path in (each.path, each.merged_path) if path]
    return next((Path(path) for path in paths if Path(path).exists()), None)


def _resume(config: Path, file: str) -> list[str]:
    return ["dpo-lightning fit", f"--config {_typed(config)}", f"--ckpt_path {file}"]


def _may_go_on(trainer: pl.Trainer) -> bool:
    """Return whether a fit was ended before its last step by what would not end it again at once."""
    ends_again = any(isinstance(each, EarlyStopping | Timer) for each in cast(Any, trainer).callbacks)
    return trainer.should_stop and not ends_again


def _listed(commands: Sequence[Sequence[str]]) -> list[str]:
    """Return commands below each other; one that is too wide goes on in the next row, as a shell reads it."""
    return [("next: " if number == 0 else " " * 6) + _wrapped(parts) for number, parts in enumerate(commands)]


def _wrapped(parts: Sequence[str]) -> str:
    rows = [" " * 6 + parts[0]]
    for part in parts[1:]:
        if len(f"{rows[-1]} {part} \\") <= _WIDEST:
            rows[-1] += f" {part}"
        else:
            rows.append(" " * 8 + part)
    return " \\\n".join(rows).lstrip()


def _typed(path: Path) -> str:
    return shlex.quote(from_here(path))


def _free(name: str) -> str:
    """Return a name that nothing has here: an export replaces a model that is there."""
    return next(each for each in chain([name], (f"{name}-{n}" for n in count(2))) if not Path(each).exists())


def _checkpoint(trainer: pl.Trainer) -> Path | None:
    """Return the best checkpoint, or the last one where nothing is measured."""
    callback: Any = trainer.checkpoint_callback
    path = getattr(callback, "best_model_path", "") or getattr(callback, "last_model_path", "")
    return Path(path) if path and Path(path).exists() else None
