"""Chi-squared preference optimization."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Optional

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.losses.base import Objective, Reads, Rewards, logratios
from dpo_lightning.losses.precision import (
    at_least_float32,
    expm1_with_straight_tail,
    require_one_shape,
)
from dpo_lightning.losses.scores import PairScores
from dpo_lightning.utils.settings import POSITIVE, require


def chipo(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    *,
    beta: float,
    max_reward: float | None = None,
) -> Float[Tensor, " P"]:
    r"""Chi-squared preference optimization (chiPO), arXiv:2407.13399 algorithm 1.

    .. math:: L = -\log\sigma\left(\mathrm{clip}_{2R}\left[\beta\phi(e^{\rho_w}) - \beta\phi(e^{\rho_l})\right]\right),
        \quad \phi(z) = z + \log z

    with `rho` the log-ratios and `R` the bound of the reward. The link `phi` regularises with the chi-squared and the
    KL divergence at once: raising a completion far above the reference costs exponentially. From 30 nats on, the
    tangent continues the exponential, so that nothing overflows.

    Args:
        chosen_logratio: `[P]`, nats.
        rejected_logratio: `[P]`, nats.
        beta: Strength of the pull towards the reference, > 0.
        max_reward: Bound R of the true reward, > 0: a pair whose margin is outside [-2R, 2R] has no gradient. None
            clips nothing.

    Returns:
        `[P]`; ln 2 where the two log-ratios are equal.
    """
    require_one_shape(chosen_logratio, rejected_logratio)
    scaled_margin = beta * (_link(chosen_logratio) - _link(rejected_logratio))
    bound = math.inf if max_reward is None else 2 * max_reward
    return -F.logsigmoid(scaled_margin.clamp(-bound, bound))


@dataclass(frozen=True)
class ChiPO(Objective):
    """Chi-squared preference optimization (chiPO), arXiv:2407.13399; reward = beta x (ratio - 1 + log-ratio).

    Use it where DPO over-optimises: few pairs, many epochs, or a small beta. Its reward grows with the ratio of the
    probabilities itself, so the policy stays where the data is.

    Args:
        beta: Strength of the pull towards the reference, > 0; the paper uses 0.05 and 0.005.
        max_reward: Bound R of the true reward, > 0; margins are clipped to [-2R, 2R]. None clips nothing.
    """

    beta: float = 0.05
    max_reward: Optional[float] = None
    reads: ClassVar[Reads] = Reads.REFERENCE

    def __post_init__(self) -> None:
        require(self, beta=POSITIVE)
        if self.max_reward is not None:
            require(self, max_reward=POSITIVE)

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `chipo`."""
        return chipo(*logratios(scores), beta=self.beta, max_reward=self.max_reward)

    def rewards(self, scores: PairScores) -> Rewards:
        """Return beta x (phi(ratio) - 1), each `[P]`: 0 where policy and reference agree."""
        return self.beta * _link(scores.chosen_logratio), self.beta * _link(scores.rejected_logratio)


def _link(logratio: Tensor) -> Tensor:
    """Return phi(exp(logratio)) - 1: 0 where policy and reference agree; the constant cancels in a margin."""
    logratio = at_least_float32(logratio)
    return expm1_with_straight_tail(logratio) + logratio
