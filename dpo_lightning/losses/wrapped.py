"""Objectives inside others: which ones may be, and their loss."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from dpo_lightning.errors import InputError
from dpo_lightning.losses.base import AnyObjective, Objective, Reads
from dpo_lightning.losses.scores import ChosenScores, PairScores


def require_objective(name: str, objective: Any) -> None:
    """Refuse what is no objective of pairs.

    Raises:
        InputError: naming the setting.
    """
    if not isinstance(objective, Objective):
        raise InputError(f"{name} must be an objective of pairs, such as DPO, got {type(objective).__name__}")


def require_own_losses(name: str, objective: Objective) -> None:
    """Refuse an objective whose loss is not one of each pair, which could not be weighted.

    Raises:
        InputError: naming the setting.
    """
    require_objective(name, objective)
    if Reads.BATCH in objective.reads:
        raise InputError(
            f"{name} must have a loss for each pair: that of {type(objective).__name__} is one of the whole batch, "
            "where no pair has a weight"
        )


def loss_of(objective: AnyObjective, scores: ChosenScores | PairScores) -> Float[Tensor, " P"]:
    """Return the loss, `[P]`, of the scores that the objective takes, as its `compares` says."""
    return objective(scores)
