"""Parts of a run that a checkpoint holds beside Lightning's state and the trained weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import lightning.pytorch as pl
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info

from dpo_lightning.checkpoints.contents import (
    GIVEN_REFERENCE,
    MODEL_CONFIG,
    MOVED_REFERENCE,
    NOT_HELD,
    REFERENCE_MOVER,
    RUNNING_MEAN,
    STATE_DICT,
    WHOLE,
)
from dpo_lightning.checkpoints.fingerprints import OtherReferenceError, check_identity, held_weights
from dpo_lightning.checkpoints.hyperparameters import held_again
from dpo_lightning.checkpoints.settings import (
    COMPARED_ELSEWHERE,
    Difference,
    differing_arguments,
    refuse_or_tell,
    refuse_other_shapes,
    refuse_without_training_state,
)
from dpo_lightning.checkpoints.standalone_loading import plain_config
from dpo_lightning.errors import InputError
from dpo_lightning.policy.lora import is_adapted
from dpo_lightning.reference import FrozenModule, ReferenceMover, moved_weights, restore_moved
from dpo_lightning.run import PreferenceRun
from dpo_lightning.utils.trainers import is_fitting


def add_run_state(run: PreferenceRun, checkpoint: dict[str, Any]) -> None:
    """Add the config of a whole model, names of arguments that are not held, a moved reference, and the mean."""
    config = run.original_config()
    if config is not None and not is_adapted(run.policy):
        checkpoint[MODEL_CONFIG] = plain_config(config)
    if run.not_held:
        checkpoint[NOT_HELD] = dict(run.not_held)
    if run.held.whole:
        checkpoint[WHOLE] = dict(run.held.whole)
    if isinstance(run.reference_settings, FrozenModule):
        checkpoint[GIVEN_REFERENCE] = True
    if run.reference.moved_by is not None:
        checkpoint[MOVED_REFERENCE] = moved_weights(run.reference)
        checkpoint[REFERENCE_MOVER] = run.reference.moved_by
    if run.reads_baseline:
        checkpoint[RUNNING_MEAN] = {"of": type(run.objective).__name__, "state": run.running_mean.saved()}


def check_belongs(module: pl.LightningModule, checkpoint: Mapping[str, Any], trainer: pl.Trainer | None) -> None:
    """Refuse a checkpoint of another base or reference, and to train on from it with other settings.

    Outside of a fit, the objective and the reference that were asked for are the ones that are used.

    Args:
        module: The `PreferenceRun` that takes it, its policy and reference built.
        checkpoint: The saved one.
        trainer: The Trainer that goes on with it; None where the module is loaded alone.

    Raises:
        InputError: naming what differs, and what to do.
    """
    run = cast(PreferenceRun, module)
    fitting = is_fitting(trainer)
    if trainer is not None and fitting:
        refuse_without_training_state(checkpoint, trainer)
    try:
        found = check_identity(run, checkpoint, held_weights(checkpoint, module.state_dict()))
    except OtherReferenceError:
        if trainer is not None or "policy" in module.hparams:
            raise
        # The policy itself is in the checkpoint: a module that was given to hold it need not be what it began as.
        found = []
        run.lose_reference("which the module that was given is not")
    if fitting:
        found += other_arguments(module, checkpoint)
        _tell_unseen(run, checkpoint)
    else:
        found = [each for each in found if each.name.partition(".")[0] != "reference"]
    refuse_or_tell(found, run.resume)
    shapes = {name: value.shape for name, value in checkpoint.get(STATE_DICT, {}).items()}
    refuse_other_shapes(shapes, dict(module.named_parameters()))


def _tell_unseen(run: PreferenceRun, checkpoint: Mapping[str, Any]) -> None:
    """Say which arguments of the same class a checkpoint could not hold, and so nobody can compare."""
    for name, kind in checkpoint.get(NOT_HELD, {}).items():
        if name not in COMPARED_ELSEWHERE and run.not_held.get(name) == kind:
            rank_zero_info(
                f"the checkpoint could not hold the settings of its {name} ({kind}): that they are those of this run "
                "cannot be checked"
            )


def other_arguments(module: pl.LightningModule, checkpoint: Mapping[str, Any]) -> list[Difference]:
    """Return the arguments of a `PreferenceRun` that are not those of a checkpoint's run."""
    held = held_again(cast(PreferenceRun, module).held, module.hparams, type(module))
    return differing_arguments(checkpoint, held.plain, held.lost)


def restore_run_state(run: PreferenceRun, checkpoint: dict[str, Any], trainer: pl.Trainer | None) -> None:
    """Move the reference, and the mean that the loss reads, to where the checkpoint's were.

    Args:
        run: The run that goes on, its policy and reference built.
        checkpoint: The saved one.
        trainer: The Trainer that goes on with it; None where the module is loaded alone.

    Raises:
        InputError: for a reference that cannot become it, or is not given again, and for a training run in which it
            would not go on moving.
    """
    if checkpoint.get(GIVEN_REFERENCE) and run.reference_settings is None:
        raise InputError("the checkpoint's reference was a module: give it again, with reference=module")
    if MOVED_REFERENCE in checkpoint:
        _check_mover(trainer, checkpoint[REFERENCE_MOVER])
        restore_moved(run.reference, checkpoint[MOVED_REFERENCE])
        run.reference.moved_by = checkpoint[REFERENCE_MOVER]
    elif run.reference.moved_by is not None:
        raise InputError(
            "the checkpoint is of a run that left the reference where it was, and this module's was moved: load it "
            "into a new PreferenceModule"
        )
    mean = checkpoint.get(RUNNING_MEAN, {})
    if mean.get("of") == type(run.objective).__name__:
        run.running_mean.restore(mean["state"])


def _check_mover(trainer: pl.Trainer | None, saved: str) -> None:
    if trainer is None or trainer.state.fn != TrainerFn.FITTING:
        return
    here = [type(each).__name__ for each in cast(Any, trainer).callbacks if isinstance(each, ReferenceMover)]
    if here != [saved]:
        raise InputError(
            f"the checkpoint's reference was moved by {saved}, and this run has {' and '.join(here) or 'nothing'} that "
            f"moves it: give {saved} among the callbacks"
        )
