"""The checkpoint hooks of a run's module: of its policy trainable weights only, and a class method to load them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import lightning.pytorch as pl
from lightning.fabric.utilities.data import AttributeDict
from typing_extensions import Self

from dpo_lightning.checkpoints.constructors import is_set_inside
from dpo_lightning.checkpoints.contents import HYPER_PARAMETERS, mark_format, refuse_incomplete, refuse_newer
from dpo_lightning.checkpoints.fingerprints import add_identity
from dpo_lightning.checkpoints.hyperparameters import (
    held_again,
    left_out,
    logged_hyperparameters,
    mask_data_arguments,
    plain_hyperparameters,
)
from dpo_lightning.checkpoints.run_state import add_run_state, check_belongs, restore_run_state
from dpo_lightning.checkpoints.settings import RESUME
from dpo_lightning.checkpoints.standalone_loading import loading
from dpo_lightning.checkpoints.trainable import (
    add_untrained,
    check_trainable,
    keep_trainable,
    trained_by_then,
    unfreeze_trained,
)
from dpo_lightning.compat.lightning import class_only
from dpo_lightning.run import PreferenceRun
from dpo_lightning.utils.trainers import attached_trainer, is_fitting


class CheckpointHooks(PreferenceRun, pl.LightningModule):
    """The part of a run's module that Lightning calls when a checkpoint is written or read."""

    def __init__(self) -> None:
        super().__init__()
        self.register_load_state_dict_pre_hook(add_untrained)
        self._trained_by_then: frozenset[str] | None = None

    def hold_arguments(self) -> None:
        """Turn the arguments that `save_hyperparameters` took into those that a checkpoint holds.

        Raises:
            InputError: for a reference or a schedule that none can hold.
        """
        self.held = plain_hyperparameters(self.hparams, type(self))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the format and what `add_run_state` does; arguments take their plain form, whoever has saved them."""
        mark_format(checkpoint)
        if HYPER_PARAMETERS in checkpoint:
            self.held = held_again(self.held, checkpoint[HYPER_PARAMETERS], type(self))
            # How a run goes on is said anew each time. Lightning would hand what the class sets to its `**kwargs`.
            plain = {k: v for k, v in self.held.plain.items() if k != RESUME and not is_set_inside(type(self), k)}
            checkpoint[HYPER_PARAMETERS] = plain
        add_identity(self, checkpoint)
        mask_data_arguments(checkpoint)
        add_run_state(self, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore them; an InputError for a newer format, and for a checkpoint of another base, reference or run."""
        refuse_newer(checkpoint)
        self._trained_by_then = trained_by_then(checkpoint)
        trainer = attached_trainer(self)
        restore_run_state(self, checkpoint, trainer)
        check_belongs(self, checkpoint, trainer)
        if is_fitting(trainer):
            refuse_incomplete(checkpoint)

    @property
    def hparams_initial(self) -> AttributeDict:
        """Constructor arguments in plain form, as loggers write them."""
        return AttributeDict(logged_hyperparameters(super().hparams_initial, type(self)))

    def remove_ignored_hparams(self, ignore_list: list[str]) -> None:
        """Take out what a subclass ignores; a load of its checkpoints asks for it."""
        if lost := left_out(self.hparams, ignore_list, type(self)):
            self.held = self.held._replace(lost={**self.held.lost, **lost})
        super().remove_ignored_hparams(ignore_list)

    def state_dict(self, *args: Any, prefix: str = "", **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Return the trainable parameters, and whatever else is not the policy's, also inside another module."""
        state: dict[str, Any] = super().state_dict(*args, prefix=prefix, **kwargs)
        keep_trainable(self, state, prefix)
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load what `state_dict` gives; strict means that it must be exactly this."""
        if not self.is_built:  # one that a run has given back takes weights as it is
            self.configure_model()
        result = super().load_state_dict(state_dict, strict=False, assign=assign)
        if strict:
            # A subclass may save less, or give its entries other names; here they have ours.
            own, whole = self.state_dict(), CheckpointHooks.state_dict(self)
            expected = own if own.keys() <= whole.keys() else whole
            check_trainable(expected, state_dict, result.unexpected_keys, self._trained_by_then)
        self._trained_by_then = None
        unfreeze_trained(self, state_dict, attached_trainer(self))
        return result

    @class_only
    def load_from_checkpoint(
        cls,  # noqa: N805 - the decorator is Lightning's classmethod
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        strict: Optional[bool] = None,
        weights_only: Optional[bool] = None,
        **kwargs: Any,
    ) -> Self:
        """Build the module that a run has saved; a whole model also where the policy's directory is not there.

        Args:
            checkpoint_path: A file or a URL.
            map_location: Where tensors go, as in `torch.load`.
            hparams_file: YAML or CSV in place of the saved constructor arguments.
            strict: Whether the trainable parameters must be exactly those saved.
            weights_only: False allows any object in a local file, and with it the code that it brings.
            kwargs: Constructor arguments that replace the saved ones; `policy` where it was a module, and what else the
                checkpoint could not hold. Without an `optimizer` that was a function, the module does not train.

        Raises:
            InputError: for a damaged file, where the checkpoint needs a model that is not there, and for an argument
                that the constructor does not take.
        """
        with loading(cls, checkpoint_path, weights_only, hparams_file, kwargs) as (source, arguments):
            loaded = super().load_from_checkpoint(
                source, map_location, hparams_file, strict, weights_only is not False, **arguments
            )
        loaded.configure_model()
        return loaded
