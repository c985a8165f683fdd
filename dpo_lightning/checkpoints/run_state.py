"""What a checkpoint holds of a run beside Lightning's state and the trained weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from lightning.pytorch.trainer.states import TrainerFn
from torch import nn

from dpo_lightning.checkpoints.contents import MODEL_CONFIG, MOVED_REFERENCE, REFERENCE_MOVER, RUNNING_MEAN
from dpo_lightning.checkpoints.standalone import plain_config
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Reads
from dpo_lightning.policy.loading import is_adapted
from dpo_lightning.reference import Reference, ReferenceMover, moved_weights, restore_moved
from dpo_lightning.utils.trainers import attached_trainer

if TYPE_CHECKING:
    from dpo_lightning.module import PreferenceModule


def add_run_state(module: PreferenceModule, checkpoint: dict[str, Any]) -> None:
    """Add the model's config where the whole model is saved, a reference that is moved, and the mean that is read."""
    config, policy = module.policy_source.original_config(), cast(nn.Module, module.policy)
    if config is not None and not is_adapted(policy):
        checkpoint[MODEL_CONFIG] = plain_config(config)
    if module.reference_mover is not None:
        checkpoint[MOVED_REFERENCE] = moved_weights(cast(Reference, module.reference), policy)
        checkpoint[REFERENCE_MOVER] = module.reference_mover
    if Reads.BASELINE in module.objective.reads:
        checkpoint[RUNNING_MEAN] = {"of": type(module.objective).__name__, "state": module.running_mean.saved()}


def restore_run_state(module: PreferenceModule, checkpoint: dict[str, Any]) -> None:
    """Move the reference, and the mean that the loss reads, to where the checkpoint's were.

    Raises:
        InputError: for a reference that cannot become it, and for a training run in which it would not go on moving.
    """
    if MOVED_REFERENCE in checkpoint:
        _check_mover(module, checkpoint[REFERENCE_MOVER])
        policy = cast(nn.Module, module.policy)
        restore_moved(cast(Reference, module.reference), policy, checkpoint[MOVED_REFERENCE])
        module.reference_mover = checkpoint[REFERENCE_MOVER]
    elif module.reference_mover is not None:
        raise InputError(
            "the checkpoint is of a run that left the reference where it was, and this module's was moved: load it "
            "into a new PreferenceModule"
        )
    mean = checkpoint.get(RUNNING_MEAN, {})
    if mean.get("of") == type(module.objective).__name__:
        module.running_mean.restore(mean["state"])


def _check_mover(module: PreferenceModule, saved: str) -> None:
    trainer = attached_trainer(module)
    if trainer is None or trainer.state.fn != TrainerFn.FITTING:
        return
    here = [type(each).__name__ for each in cast(Any, trainer).callbacks if isinstance(each, ReferenceMover)]
    if here != [saved]:
        raise InputError(
            f"the checkpoint's reference was moved by {saved}, and this run has {' and '.join(here) or 'nothing'} that "
            f"moves it: give {saved} among the callbacks"
        )
