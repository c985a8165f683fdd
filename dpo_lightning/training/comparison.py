"""The interface of comparisons: an objective's scores out of a batch, their losses, their means and its predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.batch import PreferenceBatch
from dpo_lightning.errors import InputError
from dpo_lightning.losses.scores import TokenScores
from dpo_lightning.losses.undeclared import with_inputs
from dpo_lightning.training.list_metrics import Means

ScoresT = TypeVar("ScoresT")
PairLosses = Callable[[PreferenceBatch, Any], Float[Tensor, " _"]]


class Comparison(ABC, Generic[ScoresT]):
    """The comparison that an objective makes of the completions of an example, with scores of the type `ScoresT`."""

    unit: ClassVar[str] = "example"
    """Name of what has a loss of its own, in messages."""

    def size(self, batch: PreferenceBatch) -> int:
        """Return how many losses a batch has: one of each example."""
        return batch.examples

    @abstractmethod
    def scores(self, batch: PreferenceBatch, tokens: TokenScores) -> ScoresT:
        """Sum the log-probs over the completions of a batch, as the objective reads them.

        Raises:
            InputError: for a batch of other examples.
        """

    @abstractmethod
    def logratios(self, scores: ScoresT) -> Float[Tensor, " C"]:
        """Return the log-ratio, in nats, of each of the `C` completions that are trained on; of pairs, chosen first."""

    @abstractmethod
    def means(self) -> Means:
        """Make a new metric of what is watched."""

    def losses(self, pair_losses: PairLosses, batch: PreferenceBatch, scores: ScoresT) -> Float[Tensor, " P"]:
        """Return the losses that a module's `pair_losses` makes of the scores.

        Raises:
            InputError: where it reads what the comparison does not compute, and for another number of losses.
        """
        losses = _one_each(with_inputs(lambda each: pair_losses(batch, each), scores), self.size(batch), self.unit)
        _require_gradient(losses, scores)
        return losses

    @abstractmethod
    def watched(self, scores: ScoresT, losses: Float[Tensor, " P"]) -> Mapping[str, Tensor]:
        """Return what such a metric takes of a batch, detached."""

    @abstractmethod
    def predicted(self, batch: PreferenceBatch, scores: ScoresT) -> dict[str, Tensor]:
        """Return what a prediction says of each row, each `[P]`."""


def _require_gradient(losses: Tensor, scores: Any) -> None:
    """Refuse a loss that does not depend on the policy, where it is trained."""
    is_trained = any(isinstance(each, Tensor) and each.requires_grad for each in scores)
    if torch.is_grad_enabled() and is_trained and not losses.requires_grad:
        raise InputError(
            "the loss has no gradient, so that nothing would be trained: make it of the policy's log-probs in the "
            "objective's __call__ and in pair_losses, without detach() or item()"
        )


def _one_each(losses: object, count: int, unit: str) -> Float[Tensor, " _"]:
    """Return what an objective or a `pair_losses` has returned, where it is so many losses; without a wait.

    Raises:
        InputError: for anything else.
    """
    if not isinstance(losses, Tensor):
        found = f"a {type(losses).__name__}"
    elif losses.shape != (count,):
        found = f"a tensor of shape {[*losses.shape]}"
    elif losses.is_sparse:
        found = "a sparse tensor"
    elif losses.is_floating_point():
        return losses
    else:
        raise InputError(f"the loss of each {unit} is of {losses.dtype}: return numbers with a fraction, as float32")
    raise InputError(
        f"the loss of a micro-batch with {count} {unit}s is {found}: return the loss of each, of shape "
        f"[{count}], without a mean or a sum over them, from the objective's __call__ and from pair_losses"
    )
