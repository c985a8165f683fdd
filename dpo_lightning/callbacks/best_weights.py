"""Weights of a run's best checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from torch import Tensor, nn

from dpo_lightning.checkpoints import load_plain, local_copy
from dpo_lightning.checkpoints.contents import STATE_DICT
from dpo_lightning.checkpoints.sharded import consolidated
from dpo_lightning.errors import InputError

_PREFIX = "policy."


def monitoring_checkpoint(trainer: pl.Trainer) -> ModelCheckpoint:
    """Return the callback that knows the best checkpoint.

    Raises:
        InputError: where none does, or several may disagree.
    """
    saving = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    found = [callback for callback in saving if callback.monitor is not None and callback.save_top_k != 0]
    if len(found) != 1:
        there = f"{len(found)} of them do" if found else "none of them does"
        raise InputError(
            f"Export.best: one ModelCheckpoint with a monitor says which checkpoint is the best, and {there}: set its "
            "monitor, such as val/loss, or leave best out"
        )
    return found[0]


def best_weights(trainer: pl.Trainer) -> tuple[dict[str, Tensor], int]:
    """Return the trained weights of the best checkpoint, by the policy's names, and its optimizer steps.

    Raises:
        InputError: where none was saved, or it cannot be read.
    """
    path = monitoring_checkpoint(trainer).best_model_path
    if not path:
        raise InputError("Export.best: no checkpoint was saved with the metric that is monitored: there is no best one")
    saved = _read(path)
    return _of_policy(saved[STATE_DICT]), int(saved.get("global_step") or 0)


def averaged_weights(trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Tensor]:
    """Return the weights that a `WeightAveraging` puts into a checkpoint, by the policy's names; empty without one."""
    held: dict[str, Any] = {STATE_DICT: {}}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, WeightAveraging):
            callback.on_save_checkpoint(trainer, pl_module, held)
    return _of_policy(held[STATE_DICT])


def _of_policy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(_PREFIX): value for name, value in state.items() if name.startswith(_PREFIX)}


def _read(path: str) -> dict[str, Any]:
    if Path(path).is_dir():
        return consolidated(path)
    with local_copy(path, weights_only=True) as file:
        if file is None:
            raise InputError(f"Export.best: the checkpoint {path} is on another file system, and cannot be read here")
        return load_plain(file, path)


@contextmanager
def weights_replaced(policy: nn.Module, state: Mapping[str, Tensor]) -> Iterator[None]:
    """Give the policy other weights inside the block.

    Args:
        policy: The policy.
        state: The weights by name; empty to leave the policy as it is.

    Raises:
        InputError: where they are not those of this policy.
    """
    parameters = dict(policy.named_parameters())
    missing = [name for name, value in parameters.items() if value.requires_grad and name not in state]
    if state and missing:
        raise InputError(f"Export.best: the best checkpoint lacks {missing[0]}, and {len(missing) - 1} more weights")
    replaced = {name: parameters[name] for name in state if name in parameters}
    kept = {name: parameter.detach().cpu().clone() for name, parameter in replaced.items()}
    _fill(replaced, state)
    try:
        yield
    finally:
        _fill(replaced, kept)


def _fill(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(values[name])
