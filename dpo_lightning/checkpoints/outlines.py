"""Outlines of checkpoints: what a strategy that loads by itself would refuse in many lines is refused before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import lightning.pytorch as pl
import torch

from dpo_lightning.checkpoints.contents import IDENTITY, OPTIMIZER_STATES, STATE_DICT
from dpo_lightning.checkpoints.fingerprints import check_identity
from dpo_lightning.checkpoints.io import load_plain
from dpo_lightning.checkpoints.run_state import other_arguments
from dpo_lightning.checkpoints.settings import (
    refuse_or_tell,
    refuse_other_shapes,
    refuse_without_training_state,
)
from dpo_lightning.checkpoints.sharded import rest_of_shards, shapes_in_shards
from dpo_lightning.checkpoints.trainable import check_trainable, saved_tensors
from dpo_lightning.errors import InputError
from dpo_lightning.run import PreferenceRun
from dpo_lightning.utils.trainers import is_fitting

_COMPILED = "_orig_mod."  # torch.compile puts it into names, and torch's reader of shards takes it out


class Outline(NamedTuple):
    """A checkpoint without the values of its weights.

    Attributes:
        rest: All of it but the weights, and of shards the optimizer states.
        shapes: Shapes of its weights, by name.
        is_sharded: Whether it is a directory of shards.
    """

    rest: dict[str, Any]
    shapes: dict[str, torch.Size]
    is_sharded: bool


def outline(path: Path) -> Outline:
    """Read what a checkpoint, a file or a directory of shards, is a checkpoint of.

    Raises:
        InputError: for other than plain data.
    """
    if path.is_dir():
        return Outline(rest_of_shards(path), shapes_in_shards(path), True)
    saved = load_plain(path, str(path), mmap=True)
    return Outline(saved, {name: value.shape for name, value in saved.get(STATE_DICT, {}).items()}, False)


def check_outline(module: pl.LightningModule, found: Outline, trainer: pl.Trainer) -> None:
    """Refuse, before it is read into a module, a checkpoint of another base, or with other weights.

    Args:
        module: The module that it is read into, built.
        found: The checkpoint.
        trainer: The Trainer that goes on with it.

    Raises:
        InputError: naming what differs, and what to do.
    """
    fitting = is_fitting(trainer)
    if fitting:
        refuse_without_training_state(found.rest, trainer)
    if isinstance(module, PreferenceRun):
        _check_settings(module, found, fitting)
    shapes = {_plain(name): shape for name, shape in found.shapes.items()}
    if found.is_sharded:
        expected = [_plain(name) for name in module.state_dict()]
        unexpected = [name for name in shapes if name not in expected] if module.strict_loading else []
        check_trainable(expected, shapes, unexpected)
    else:
        _check_whole(module, shapes)
        if fitting:
            _check_numbers(module, found.rest, trainer)
    refuse_other_shapes(shapes, {_plain(name): value for name, value in module.named_parameters()})


def _check_settings(run: PreferenceRun, found: Outline, fitting: bool) -> None:
    """Refuse what is refused after the loading as well; what is to be applied is said then."""
    other = check_identity(run, found.rest, found.shapes) if IDENTITY in found.rest else []
    if fitting and run.resume != "changed":
        refuse_or_tell([*other, *other_arguments(cast(pl.LightningModule, run), found.rest)], run.resume)


def _check_whole(module: pl.LightningModule, shapes: Mapping[str, Any]) -> None:
    """Refuse a file without all weights: Lightning's ModelParallelStrategy takes each of a module from it."""
    lacking = [name for name, _ in saved_tensors(module) if _plain(name) not in shapes]
    if lacking and module.strict_loading:
        raise InputError(
            f"the checkpoint is a file without the weights that its run did not train, {lacking[0]} and "
            f"{len(lacking) - 1} more, and ModelParallelStrategy asks for them: go on from a directory of shards, or "
            "with another strategy"
        )


def _check_numbers(module: pl.LightningModule, saved: Mapping[str, Any], trainer: pl.Trainer) -> None:
    """Refuse optimizer states by numbers that torch would take for the module's order, which is not the optimizer's."""
    wanted = [id(parameter) for parameter in module.parameters()]
    for state, optimizer in zip(saved.get(OPTIMIZER_STATES, []), trainer.strategy.optimizers, strict=False):
        own = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
        if own != wanted and any(isinstance(key, int) for key in state.get("state", {})):
            raise InputError(
                "the checkpoint is a file of one process, and ModelParallelStrategy would give its optimizer's state "
                "to other parameters: go on from a directory of shards, or with another strategy"
            )


def _plain(name: str) -> str:
    return name.replace(_COMPILED, "")
