"""For objectives without a reference, and for runs that have lost theirs."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dpo_lightning.batch import PairBatch
from dpo_lightning.errors import InputError
from dpo_lightning.reference.base import Followed, Reference


class NoReference(Reference):
    """Zero log-probs: a log-ratio is then the policy's log-prob."""

    def bind(self, policy: nn.Module) -> None:
        """Nothing to take."""

    def token_logps(self, batch: PairBatch) -> Float[Tensor, " N"]:
        """Zeros ``[N]``."""
        return torch.zeros_like(batch.targets, dtype=torch.float32)

    def diagnose(self, policy: nn.Module) -> str:
        """There is nothing to agree with."""
        return "the objective has no reference"

    def followed(self, policy: nn.Module) -> dict[str, Followed]:
        """Nothing."""
        return {}


class LostReference(NoReference):
    """Of a checkpoint whose base model is not there: the policy can be used, not compared."""

    def token_logps(self, batch: PairBatch) -> Float[Tensor, " N"]:
        """Refuse.

        Raises:
            InputError: saying what is missing.
        """
        raise InputError(
            "the reference is the policy before training, whose directory was not there when the checkpoint was "
            "loaded: load it with policy=its place"
        )
