"""References that the policy is compared with: one interface, so that the training step has no `if`.

A `Reference` is settings: frozen, plain, usable for any number of modules, saved among the hyperparameters. Binding it
to a policy before training gives a `BoundReference`, which holds weights and scores batches.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dpo_lightning.batch import Collate, PreferenceBatch
from dpo_lightning.errors import InputError
from dpo_lightning.policy.samples import own_tensors


class Followed(NamedTuple):
    """A weight of the reference and the policy's weight that it can follow: of one shape and dtype, sharded alike."""

    reference: Tensor
    policy: Tensor


class BoundReference(ABC):
    """The reference of one policy, as that was before training.

    It is no `nn.Module`, so its weights never reach the optimizer, the checkpoint or the model summary. A checkpoint
    holds them only where the reference is moved.

    Attributes:
        moved_by: Name of the callback that moves the reference; None where it stays where it was.
        weights_hash: The hash of its weights, where it has one; None elsewhere.
    """

    moved_by: str | None = None
    weights_hash: str | None = None

    @abstractmethod
    def token_logps(self, batch: PreferenceBatch) -> Float[Tensor, " N"]:
        """Return the log-probs in nats of the batch's scored tokens, float32, without a graph."""

    @abstractmethod
    def diagnose(self) -> str:
        """Say why the scores may differ from the policy's before training, as far as the weights show it."""

    @abstractmethod
    def followed(self) -> dict[str, Followed]:
        """Return the weights that must follow the policy's for the two to be equal, by the policy's parameter names.

        The tensors may be changed in place. Empty for a reference without log-probs of its own.

        Raises:
            InputError: saying why it cannot follow, and what to use instead.
        """

    def own_models(self) -> list[nn.Module]:
        """Return the models beside the policy that the reference scores with; they are sharded with it."""
        return []

    def hold_narrow(self, precision: str | None, device: torch.device) -> int:
        """Hold linear layers of its own in mixed precision's dtype, where no number changes; return how many are.

        Args:
            precision: Lightning's name of the run's precision.
            device: Where the run scores.
        """
        return 0

    def own_weights(self) -> dict[str, Tensor]:
        """Return the weights that it scores with and does not share with the policy as it is trained, by name."""
        return {name: tensor for model in self.own_models() for name, tensor in own_tensors(model).items()}

    @contextmanager
    def generating(self) -> Iterator[nn.Module | None]:
        """Yield the model that writes what the reference would, as it is inside the block; None where there is none."""
        yield None

    def collate(self, collate: Collate) -> Collate:
        """Return the collate function, or one whose batches bring what the reference needs."""
        return collate


class Reference(ABC):
    """Settings of a reference; subclasses are frozen dataclasses, or a module refuses them: checkpoints hold them."""

    @abstractmethod
    def bind(self, policy: nn.Module) -> BoundReference:
        """Take the reference from the policy as it stands before training, and before a restore.

        Raises:
            InputError: where it does not fit the policy.
        """


@dataclass(frozen=True)
class NoReference(Reference):
    """Zero log-probs, for objectives without a reference: a log-ratio is then the policy's log-prob."""

    def bind(self, policy: nn.Module) -> BoundReference:
        """Return the bound reference; nothing is taken from the policy."""
        return _Zero()


class _Zero(BoundReference):
    def token_logps(self, batch: PreferenceBatch) -> Float[Tensor, " N"]:
        """Return zeros `[N]`."""
        return torch.zeros_like(batch.targets, dtype=torch.float32)

    def diagnose(self) -> str:
        """Say that there is nothing to agree with."""
        return "the objective has no reference"

    def followed(self) -> dict[str, Followed]:
        """Return no weights."""
        return {}


class LostReference(Reference):
    """The reference of a checkpoint whose base model is not there: the policy can be used, not compared.

    Args:
        why: What became of the policy before training.
    """

    def __init__(self, why: str = "whose directory was not there when the checkpoint was loaded") -> None:
        self.why = why

    def bind(self, policy: nn.Module) -> BoundReference:
        """Return the bound reference, which scores nothing."""
        return _Lost(self.why)


class _Lost(BoundReference):
    def __init__(self, why: str) -> None:
        self._why = why

    def token_logps(self, batch: PreferenceBatch) -> Float[Tensor, " N"]:
        """Refuse.

        Raises:
            InputError: saying what is missing.
        """
        raise InputError(
            f"the reference is the policy before training, {self._why}: load it again with "
            "policy=the model's directory or hub name"
        )

    def diagnose(self) -> str:
        """Say that there is nothing to agree with."""
        return "the reference is lost"

    def followed(self) -> dict[str, Followed]:
        """Return no weights."""
        return {}


def without_idle(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the matrices of an adapter whose partner is still 0: they change nothing, and are drawn anew."""
    return {name: weight for name, weight in weights.items() if not _is_idle(weights.get(_partner(name)))}


def _partner(name: str) -> str:
    """Return the name of the matrix that one of an adapter is multiplied with, or none of a weight."""
    swapped = name.replace("_A.", "_B.")
    return swapped if swapped != name else name.replace("_B.", "_A.") if "_B." in name else ""


def _is_idle(partner: Tensor | None) -> bool:
    return partner is not None and not partner.is_meta and not bool(partner.any())
