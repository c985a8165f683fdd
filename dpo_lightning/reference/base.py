"""What the policy is compared with: one interface, so that the training step has no `if`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from dpo_lightning.batch import PairBatch
from dpo_lightning.errors import InputError


class Followed(NamedTuple):
    """A weight of the reference and the policy's that it can follow: of one shape and dtype, sharded alike."""

    reference: Tensor
    policy: Tensor


class Reference(ABC):
    """The reference of an objective. Never trained or listed: it is no ``nn.Module`` and owns none openly.

    It is taken from the policy before training, and saved only where it has been moved since.
    """

    _taken = False

    def require_free(self) -> None:
        """Check that no module has it yet: what it holds is taken from one policy.

        Raises:
            InputError: where one has.
        """
        if self._taken:
            raise InputError(
                f"the reference {type(self).__name__} is another module's already: give each module its own"
            )

    def take(self, policy: nn.Module) -> None:
        """Bind to the policy of a module, once.

        Raises:
            InputError: where another module has taken it, or it does not fit the policy.
        """
        self.require_free()
        self.bind(policy)
        self._taken = True

    @abstractmethod
    def bind(self, policy: nn.Module) -> None:
        """Take the reference from the policy as it stands before training; called once, before a restore."""

    @abstractmethod
    def token_logps(self, batch: PairBatch) -> Float[Tensor, " N"]:
        """Log-probs in nats of the batch's scored tokens, float32, without a graph."""

    @abstractmethod
    def diagnose(self, policy: nn.Module) -> str:
        """Say why the scores may differ from the policy's before training, as far as the weights show it."""

    @abstractmethod
    def followed(self, policy: nn.Module) -> dict[str, Followed]:
        """What of the reference must follow the policy so that the two are equal, by the policy's parameter names.

        The tensors may be changed in place. Nothing for a reference without log-probs of its own.

        Raises:
            InputError: saying why it cannot follow, and what to use instead.
        """

    def own_models(self) -> list[nn.Module]:
        """Models beside the policy that the reference scores with; they are sharded with it."""
        return []
