"""The weights in a checkpoint: the trainable parameters, and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import nn

from dpo_lightning.errors import InputError


def trainable_only(module: nn.Module, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a state dict that are trainable parameters of the module."""
    trainable = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    return {name: value for name, value in state.items() if name in trainable}


def check_trainable(expected: Collection[str], saved: Collection[str], unexpected: Collection[str]) -> None:
    """Compare the parameters of a checkpoint with those of a run.

    Args:
        expected: Names of the run's trainable parameters.
        saved: Names in the checkpoint.
        unexpected: Names in the checkpoint that the module does not know.

    Raises:
        InputError: unless they are the same.
    """
    missing = [name for name in expected if name not in saved]
    if missing or unexpected:
        raise InputError(
            f"the checkpoint's trainable parameters are not this run's: {len(missing)} missing {missing[:3]}, "
            f"{len(unexpected)} unexpected {list(unexpected)[:3]}: give the policy and the `lora` of that run"
        )
