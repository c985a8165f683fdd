"""The Trainer of a module."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    LearningRateFinder,
    ModelCheckpoint,
    OnExceptionCheckpoint,
    StochasticWeightAveraging,
)
from lightning.pytorch.trainer.states import TrainerFn, TrainerStatus
from torch import nn

from dpo_lightning.errors import InputError


def attached_trainer(module: pl.LightningModule) -> pl.Trainer | None:
    """Return the Trainer that runs a module; None for a module by itself, or under Fabric, which has none."""
    if module.fabric is not None:
        return None
    try:
        return module.trainer
    except RuntimeError:  # Lightning's, for a module that no Trainer has
        return None


def is_fitting(trainer: pl.Trainer | None) -> bool:
    """Return whether a Trainer runs a fit, the validations within it included."""
    return trainer is not None and trainer.state.fn == TrainerFn.FITTING


def is_running(trainer: pl.Trainer) -> bool:
    """Return whether a Trainer is in the middle of a run: before and after one somebody else asks."""
    return trainer.state.status == TrainerStatus.RUNNING


def run_directory(trainer: pl.Trainer) -> Path:
    """Return the directory of a run, where its first logger keeps its files; every rank must call, and gets the same.

    That of a run without a logger, or whose logger keeps none, is the Trainer's `default_root_dir`.
    """
    return Path(trainer.log_dir or trainer.default_root_dir)


def check_backbone(module: pl.LightningModule, callbacks: Iterable[pl.Callback]) -> None:
    """Refuse a callback of Lightning's that freezes a part which the module does not have.

    Raises:
        InputError: for `BackboneFinetuning` without a module `backbone`.
    """
    found = next((type(each).__name__ for each in callbacks if isinstance(each, BackboneFinetuning)), None)
    if found is not None and not isinstance(getattr(module, "backbone", None), nn.Module):
        raise InputError(
            f"{found} freezes the module `backbone`, which {type(module).__name__} has not: give a subclass with a "
            "property `backbone` that returns the part of `self.policy` to freeze, or leave the callback out"
        )


def check_searches(trainer: pl.Trainer) -> None:
    """Refuse a search for a rate or a batch size in a fit that goes on from a checkpoint.

    Raises:
        InputError: since the search comes before optimizer and position are restored, and forgets them.
    """
    for each in trainer.callbacks if trainer.ckpt_path is not None else ():  # type: ignore[attr-defined]
        # A subclass may search later on.
        found = next((said for kind, said in _SEARCHES.items() if type(each).on_fit_start is kind.on_fit_start), None)
        if found is not None:
            raise InputError(
                f"{type(each).__name__} would search with the checkpoint's weights and then begin at step 0, without "
                f"its optimizer and its position in the data: leave it out, and give {found} that it has found"
            )


_SEARCHES: dict[type[LearningRateFinder] | type[BatchSizeFinder], str] = {
    LearningRateFinder: "the optimizer the lr",
    BatchSizeFinder: "data.batch_pairs (or batch_tokens) the size",
}


def check_averaging(trainer: pl.Trainer) -> None:
    """Refuse to go on in the middle of an epoch with an average that sets its rate at an epoch's start only.

    Raises:
        InputError: for `StochasticWeightAveraging` that has begun by then.
    """
    for each in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(each, StochasticWeightAveraging) and trainer.current_epoch >= each.swa_start:
            raise InputError(
                f"{type(each).__name__} has begun, and cannot go on in the middle of an epoch: its rate and average "
                "would be lost; resume from before it began, or use EMAWeightAveraging"
            )


def saves_on_exception(trainer: pl.Trainer) -> bool:
    """Return whether a callback may still save a checkpoint of a run that fails: Lightning calls these last."""
    return any(
        isinstance(each, OnExceptionCheckpoint) or (isinstance(each, ModelCheckpoint) and each.save_on_exception)
        for each in trainer.callbacks  # type: ignore[attr-defined]
    )
