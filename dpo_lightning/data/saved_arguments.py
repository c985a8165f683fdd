"""The arguments that a DataModule has saved: without secrets for loggers, and plain when they are loaded."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
import yaml  # type: ignore[import-untyped]
from lightning.fabric.utilities.data import AttributeDict
from lightning.pytorch.core.saving import load_hparams_from_tags_csv, load_hparams_from_yaml
from typing_extensions import Self

from dpo_lightning.compat.lightning import class_only
from dpo_lightning.compat.lightning_checkpoints import DATA_HYPER_PARAMETERS, INSTANTIATOR_KEY
from dpo_lightning.errors import InputError
from dpo_lightning.utils.secrets import masked
from dpo_lightning.utils.text import one_line


class SavedArguments(pl.LightningDataModule):
    """A DataModule whose subclasses may call `save_hyperparameters`."""

    @property
    def hparams_initial(self) -> AttributeDict:
        """Constructor arguments as loggers write them, with `***` in place of secrets."""
        return AttributeDict(masked(dict(super().hparams_initial)))

    @class_only
    def load_from_checkpoint(
        cls,  # noqa: N805 - the decorator is Lightning's classmethod
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        weights_only: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Build the DataModule from the arguments that it has saved, which build no objects, and those given.

        Raises:
            InputError: for a checkpoint, or a `hparams_file`, that names what builds objects from its arguments: these
                could be any; and for a checkpoint that cannot be read.
        """
        saved = _read(checkpoint_path, weights_only)
        arguments = saved.get(DATA_HYPER_PARAMETERS) if hparams_file is None else _arguments_in(hparams_file)
        if INSTANTIATOR_KEY in (arguments or {}):
            place = f"checkpoint {checkpoint_path}" if hparams_file is None else f"hparams_file {hparams_file}"
            raise InputError(
                f"{place}: the arguments of its data may name any class: build the data by "
                f"{cls.__name__}(...), or from the run's config"
            )
        return super().load_from_checkpoint(
            checkpoint_path, map_location, hparams_file, weights_only is not False, **kwargs
        )


def _read(checkpoint: Any, weights_only: Any) -> Mapping[str, Any]:
    try:
        saved = torch.load(checkpoint, map_location="cpu", weights_only=weights_only is not False)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = one_line(error, 200)
        raise InputError(f"checkpoint {checkpoint}: {reason}: give a file that a Trainer has saved") from None
    if hasattr(checkpoint, "seek"):
        checkpoint.seek(0)
    if not isinstance(saved, Mapping):
        raise InputError(f"checkpoint {checkpoint} is none of a run: give a file that a Trainer has saved")
    return saved


def _arguments_in(hparams_file: Any) -> Any:
    read = load_hparams_from_tags_csv if str(hparams_file).lower().endswith(".csv") else load_hparams_from_yaml
    try:
        return read(hparams_file)
    except (yaml.YAMLError, OSError, UnicodeError, csv.Error, KeyError, SyntaxError) as error:
        reason = one_line(error, 200)
        raise InputError(f"hparams_file {hparams_file}: {reason}: give the hparams.yaml of the run") from None
