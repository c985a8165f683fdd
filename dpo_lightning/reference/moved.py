"""A reference that was moved, in a checkpoint."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping

import torch
from torch import Tensor

from dpo_lightning.errors import InputError
from dpo_lightning.policy.sharding import on_rank_zero, placed_like
from dpo_lightning.reference.base import BoundReference


class ReferenceMover(ABC):  # noqa: B024 - its subclasses say how
    """A callback that moves the reference while the policy is trained, and writes its name to `moved_by`."""


def moved_weights(reference: BoundReference) -> dict[str, Tensor]:
    """Return what `restore_moved` needs, whole, in the CPU memory of rank 0, and nothing elsewhere; all must call."""
    return on_rank_zero({name: pair.reference for name, pair in reference.followed().items()})


def restore_moved(reference: BoundReference, weights: Mapping[str, Tensor]) -> None:
    """Make the reference that of a checkpoint; one without log-probs of its own stays as it is.

    Args:
        reference: Bound to a policy that was built as in the run that saved.
        weights: What `moved_weights` gave, on every rank.

    Raises:
        InputError: for a reference that cannot become the saved one.
    """
    try:
        targets = reference.followed()
    except InputError as error:
        raise InputError(f"the checkpoint's reference had followed the policy: {error}") from None
    if not targets:
        return
    if targets.keys() != weights.keys():
        raise InputError(
            f"the checkpoint's reference had followed {len(weights)} weights of the policy, and this run's follows "
            f"{len(targets)}: give the policy, the adapters and the reference of that run"
        )
    with torch.no_grad():
        for name, (target, _) in targets.items():
            target.copy_(placed_like(weights[name], target))
