"""What the policy is compared with: one interface, so that the training step has no `if`."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

from dpo_lightning.batch import PairBatch


class Reference(ABC):
    """The reference of an objective. Never trained, saved or listed: it is no ``nn.Module`` and owns none openly."""

    @abstractmethod
    def bind(self, policy: nn.Module) -> None:
        """Take the reference from the policy as it stands before training; called once, before a restore."""

    @abstractmethod
    def token_logps(self, batch: PairBatch) -> Float[Tensor, " N"]:
        """Log-probs in nats of the batch's scored tokens, float32, without a graph."""

    @abstractmethod
    def diagnose(self, policy: nn.Module) -> str:
        """Say why the scores may differ from the policy's before training, as far as the weights show it."""

    def own_models(self) -> list[nn.Module]:
        """Models beside the policy that the reference scores with; they are sharded with it."""
        return []
