"""`--ckpt_path last` where there is no checkpoint yet: a fit begins, and says so; nothing else does."""

from __future__ import annotations

from typing import Any, cast

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from lightning.pytorch.utilities import rank_zero_info

from dpo_lightning.errors import InputError


class LastOrNothing(pl.Callback):
    """Says that a fit begins from scratch where `last` has found nothing, and refuses to evaluate a model as that."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say it: a job that a cluster starts again has the same words each time."""
        if trainer.ckpt_path is None:
            rank_zero_info(f"ckpt_path last: there is no checkpoint {_places(trainer)}: the run begins from scratch")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse it, outside a fit."""
        if trainer.state.fn == "validate":
            _refuse_nothing(trainer)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse it."""
        _refuse_nothing(trainer)

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse it."""
        _refuse_nothing(trainer)


def expect_last(trainer: pl.Trainer) -> None:
    """Let a run say what became of `ckpt_path: last`.

    Args:
        trainer: The run's, which gets a callback more.

    Raises:
        InputError: where no callback of it saves what `last` could find.
    """
    if not finds_last(trainer):
        raise InputError(
            "ckpt_path last: no callback of this run saves where a later one looks: give the checkpoint's file, or add "
            "the callback ResumableCheckpoint"
        )
    _callbacks(trainer).append(LastOrNothing())


def finds_last(trainer: pl.Trainer) -> bool:
    """Return whether a callback of a run saves what `ckpt_path: last` of a later one finds."""
    return any(map(_is_found, _callbacks(trainer)))


def _callbacks(trainer: pl.Trainer) -> list[pl.Callback]:
    return cast(Any, trainer).callbacks


def _is_found(callback: pl.Callback) -> bool:
    """Return whether checkpoints of a callback may be there before the run: Lightning's default makes a new place."""
    if isinstance(callback, ModelCheckpoint):
        return callback.dirpath is not None or bool(callback.save_last)
    return isinstance(callback, OnExceptionCheckpoint)


def _places(trainer: pl.Trainer) -> str:
    places = [str(each.dirpath) for each in _callbacks(trainer) if isinstance(each, ModelCheckpoint) and each.dirpath]
    return f"in {' or '.join(places)}" if places else "of this run"


def _refuse_nothing(trainer: pl.Trainer) -> None:
    if trainer.ckpt_path is None:
        raise InputError(
            f"ckpt_path last: there is no checkpoint {_places(trainer)}: give the file of one, or leave ckpt_path out "
            "to look at the model as it is before training"
        )
