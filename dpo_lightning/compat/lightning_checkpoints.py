"""Lightning's ways to write, find and load a checkpoint, where they have no public door."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from lightning.pytorch.utilities import rank_zero_warn

INSTANTIATOR_KEY = "_instantiator"
"""The key among a checkpoint's hyperparameters that names what builds objects from `class_path` and `init_args`.

`LightningModule.load_from_checkpoint` reads it and nothing public writes it; without it, settings come back as dicts.
"""
INSTANTIATOR = "lightning.pytorch.cli.instantiate_module"

CLASS_KEY = "_class_path"
"""The key among a checkpoint's hyperparameters that names the module's class, for LightningCLI too."""

PAST_HYPER_PARAMETERS = ("hparams", "module_arguments")
"""Keys under which Lightning still looks for constructor arguments, as versions before 0.8 wrote them."""

HYPER_PARAMETERS_NAME = LightningModule.CHECKPOINT_HYPER_PARAMS_NAME
"""The key that names the one argument that takes all hyperparameters, where there is such an argument."""

DATA_HYPER_PARAMETERS = LightningDataModule.CHECKPOINT_HYPER_PARAMS_KEY
"""The key under which a checkpoint holds the constructor arguments of a DataModule that has saved them."""


class FindsLast(ModelCheckpoint):
    """A `ModelCheckpoint` that says itself which of its checkpoints is the last.

    Touches `ModelCheckpoint._find_last_checkpoints`: the Trainer calls it for `ckpt_path="last"`, and otherwise knows
    its own `last.ckpt` only. Where it changes, such a run begins anew.
    """

    def last_checkpoint(self, trainer: pl.Trainer) -> Path | None:
        """Return the newest checkpoint from which a run can go on; a subclass says which."""
        raise NotImplementedError

    def _find_last_checkpoints(self, trainer: pl.Trainer) -> set[str]:
        last = self.last_checkpoint(trainer)
        return set() if last is None else {str(last)}


def dump_checkpoint(trainer: pl.Trainer) -> dict[str, Any]:
    """Return what `Trainer.save_checkpoint` would write; every rank must call.

    Touches `Trainer._checkpoint_connector.dump_checkpoint`: `save_checkpoint` writes at once, where sharded
    checkpoints need a directory of their own first. Where it changes, sharded runs cannot save.
    """
    return trainer._checkpoint_connector.dump_checkpoint(weights_only=False)


def save_nothing(trainer: pl.Trainer, why: str) -> None:
    """Let nobody save a checkpoint, and say so, without an error that would hide the one that the user is to see.

    Replaces `Trainer.save_checkpoint` on the instance: callbacks that save an exception ask nobody, and whatever they
    collect for a checkpoint may not be there. Where they save by another method, they may fail in its place.
    """
    vars(trainer)["save_checkpoint"] = lambda filepath, *_, **__: rank_zero_warn(f"no checkpoint {filepath}: {why}")


def save_again(trainer: pl.Trainer) -> None:
    """Undo `save_nothing`, for the next run of a Trainer."""
    vars(trainer).pop("save_checkpoint", None)


def writes_shards(strategy: Strategy) -> bool:
    """Return whether the strategy writes checkpoints as directories, into which all ranks write.

    Touches `ModelParallelStrategy._save_distributed_checkpoint`, its constructor's `save_distributed_checkpoint`,
    which it keeps nowhere else. Where it changes, a directory would be written as a file.
    """
    return isinstance(strategy, ModelParallelStrategy) and bool(strategy._save_distributed_checkpoint)


def intercept_loading(strategy: Strategy, around: Callable[..., Any]) -> None:
    """Call `around(load, path, **options)` in place of the strategy's `load_checkpoint`, once.

    Replaces a method on the instance: `ModelParallelStrategy` asks no checkpoint plugin when it loads, and no hook
    comes before it does. Where the Trainer loads by another method, a directory of shards is loaded unexamined.
    """
    if "load_checkpoint" in vars(strategy):
        return
    load = strategy.load_checkpoint
    vars(strategy)["load_checkpoint"] = lambda *args, **options: around(load, *args, **options)


def datamodule_key(datamodule: pl.LightningDataModule | None) -> str:
    """Return the key under which a checkpoint holds a DataModule's state: Lightning takes its class's name."""
    return type(datamodule).__qualname__
