"""The arguments that a DataModule has saved: without secrets for loggers, and plain when they are loaded."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.data import AttributeDict
from typing_extensions import Self

from dpo_lightning.compat.lightning import class_only
from dpo_lightning.compat.lightning_checkpoints import DATA_HYPER_PARAMETERS, INSTANTIATOR_KEY
from dpo_lightning.errors import InputError
from dpo_lightning.utils.secrets import masked


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
            InputError: for a checkpoint that names what builds objects from its arguments: these could be any.
        """
        saved = torch.load(checkpoint_path, map_location="cpu", weights_only=weights_only is not False)
        if hasattr(checkpoint_path, "seek"):
            checkpoint_path.seek(0)
        if hparams_file is None and INSTANTIATOR_KEY in (saved.get(DATA_HYPER_PARAMETERS) or {}):
            raise InputError(
                f"checkpoint {checkpoint_path}: the arguments of its data may name any class: build the data by "
                f"{cls.__name__}(...), or from the run's config"
            )
        return super().load_from_checkpoint(
            checkpoint_path, map_location, hparams_file, weights_only is not False, **kwargs
        )
