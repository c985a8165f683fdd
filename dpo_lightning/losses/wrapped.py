"""Objectives inside others: which ones may be, and their loss; what any objective must say of itself."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from dpo_lightning.errors import InputError
from dpo_lightning.losses.base import AnyObjective, Objective, Reads, UnpairedObjective
from dpo_lightning.losses.compares import Compares
from dpo_lightning.losses.lists import ListObjective
from dpo_lightning.losses.scores import ChosenScores, PairScores

_KINDS: dict[Compares, Any] = {Compares.LABELLED: UnpairedObjective, Compares.LISTS: ListObjective}


def require_objective(name: str, objective: Any) -> None:
    """Refuse what is no objective of pairs, modified or not, and one that does not say what it compares and reads.

    Raises:
        InputError: naming the setting.
    """
    if isinstance(objective, type) and issubclass(objective, AnyObjective):
        raise InputError(f"{name}: {objective.__name__} is a class: write {objective.__name__}(...)")
    if not isinstance(getattr(objective, "unmodified", None), Objective):
        raise InputError(f"{name} must be an objective of pairs, such as DPO, got {type(objective).__name__}")
    require_complete(name, objective)


def require_complete(name: str, objective: AnyObjective) -> None:
    """Refuse an objective that does not say what it compares and reads, or compares what another kind does.

    Args:
        name: The setting that it was given for, as messages name it.
        objective: The objective, of a class of the user's perhaps.

    Raises:
        InputError: naming the setting, the class and the attribute.
    """
    name, compares = f"{name} {type(objective).__name__}", objective.compares
    if not isinstance(compares, Compares):
        raise InputError(f"{name}: compares is {compares!r:.60}: leave it out, since the class above has it")
    if not isinstance(objective.reads, Reads):
        raise InputError(f"{name}: reads is {objective.reads!r:.60}: write flags of Reads, such as Reads.REFERENCE")
    columns = objective.reads_columns
    if not (isinstance(columns, frozenset) and all(isinstance(each, str) for each in columns)):
        raise InputError(f"{name}: reads_columns is {columns!r:.60}: write frozenset({{'name'}}) of names")
    kind = _KINDS.get(compares, Objective)
    if not isinstance(objective.unmodified, kind):
        raise InputError(f"{name}: it compares {compares} and is no {kind.__name__}: derive it from {kind.__name__}")
    if Reads.MISMATCHED in objective.reads and compares is not Compares.LABELLED:
        raise InputError(f"{name}: only labelled completions have those of other prompts: leave Reads.MISMATCHED out")
    if compares is Compares.CHOSEN and _has_no_chosen_rewards(objective):
        raise InputError(f"{name}: it compares {compares} and has no chosen_rewards: derive it from ChosenObjective")


def _has_no_chosen_rewards(objective: AnyObjective) -> bool:
    return isinstance(objective, Objective) and type(objective).chosen_rewards is Objective.chosen_rewards


def require_own_losses(name: str, objective: AnyObjective) -> None:
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
