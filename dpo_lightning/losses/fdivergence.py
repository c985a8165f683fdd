"""f-DPO: DPO with another f-divergence between policy and reference than the reverse KL."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.errors import InputError
from dpo_lightning.losses.any_modifier import Modifier
from dpo_lightning.losses.base import MarginObjective
from dpo_lightning.losses.precision import at_least_float32, expm1_with_straight_tail
from dpo_lightning.losses.scores import PairScores
from dpo_lightning.utils.arguments import wrong_kind
from dpo_lightning.utils.settings import Rule, require


class Divergence(ABC):
    """An f-divergence between policy and reference, given by the derivative of its f, arXiv:2309.16240 table 1."""

    @abstractmethod
    def score(self, logratio: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
        """Return `f'(u) - f'(1)` at `u = exp(logratio)`, `[P]`, which replaces the log-ratio.

        The constant `f'(1)` cancels in a margin, and makes the reward 0 where policy and reference agree.
        """


@dataclass(frozen=True)
class ReverseKL(Divergence):
    """Reverse KL, f(u) = u log u: the log-ratio itself, as in DPO."""

    def score(self, logratio: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
        """Return `log u`, `[P]`."""
        return at_least_float32(logratio)


@dataclass(frozen=True)
class ForwardKL(Divergence):
    """Forward KL, f(u) = -log u: falling below the reference costs exponentially, so the policy stays diverse.

    Below -30 nats the tangent continues the exponential, so that nothing overflows.
    """

    def score(self, logratio: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
        """Return `1 - 1 / u`, `[P]`."""
        return -expm1_with_straight_tail(-at_least_float32(logratio))


@dataclass(frozen=True)
class JensenShannon(Divergence):
    """Jensen-Shannon, f(u) = u log u - (u + 1) log((u + 1) / 2): the score never exceeds ln 2."""

    def score(self, logratio: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
        """Return `log(2 u / (1 + u))`, `[P]`."""
        return math.log(2) + F.logsigmoid(at_least_float32(logratio))


@dataclass(frozen=True)
class AlphaDivergence(Divergence):
    """Alpha divergence, f(u) = (u^(1-alpha) - (1 - alpha) u - alpha) / (alpha (alpha - 1)), between the two KLs.

    From -alpha x log-ratio = 30 nats on, the tangent continues the exponential, so that nothing overflows.

    Args:
        alpha: Order of the divergence, in (0, 1); towards 0 it is the reverse KL, towards 1 the forward KL. The paper
            uses 0.3, 0.5 and 0.7.
    """

    alpha: float = 0.5

    def __post_init__(self) -> None:
        require(self, alpha=Rule("in (0, 1)", lambda value: 0 < value < 1, remedy="; 0 is ReverseKL, 1 ForwardKL"))

    def score(self, logratio: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
        """Return `(1 - u^-alpha) / alpha`, `[P]`."""
        return -expm1_with_straight_tail(-self.alpha * at_least_float32(logratio)) / self.alpha


@dataclass(frozen=True)
class FDivergence(Modifier):
    r"""f-DPO, arXiv:2309.16240; reward = the objective's, with f'(ratio) for the log-ratio.

    .. math:: \log u \to f'(u) - f'(1), \quad u = \pi(y|x) / \pi_{ref}(y|x)

    Replaces every log-ratio of the objective. Divergences other than the reverse KL keep more of the reference's
    diversity, for a little less reward.

    Args:
        objective: A loss of a margin, such as DPO, IPO or Hinge: in a margin the multiplier of the prompt cancels.
        divergence: ReverseKL, ForwardKL, JensenShannon or AlphaDivergence.
    """

    objective: MarginObjective
    divergence: Divergence

    def __post_init__(self) -> None:
        if isinstance(self.objective, Modifier):
            raise InputError(
                f"FDivergence.objective must be a loss of a margin such as DPO, got {type(self.objective).__name__}: "
                "put that around, as in LDDPO(FDivergence(DPO(), ForwardKL()))"
            )
        if not isinstance(self.objective, MarginObjective):
            raise InputError(
                f"FDivergence.objective must be a loss of a margin such as DPO, IPO or Hinge, got "
                f"{type(self.objective).__name__}: elsewhere the multiplier of the prompt does not cancel"
            )

        if not isinstance(self.divergence, Divergence):
            raise wrong_kind("FDivergence.divergence", self.divergence, Divergence, "give one, such as ForwardKL()")

    def given(self, scores: PairScores) -> PairScores:
        """Return the scores with the divergence's score in place of each log-ratio."""
        chosen = self.divergence.score(scores.chosen_logratio)
        rejected = self.divergence.score(scores.rejected_logratio)
        return scores._replace(
            policy_chosen_logps=chosen,
            policy_rejected_logps=rejected,
            reference_chosen_logps=torch.zeros_like(chosen),
            reference_rejected_logps=torch.zeros_like(rejected),
        )
