"""SimPO, and AlphaPO, whose reward is a power of the likelihood."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from dpo_lightning.losses.base import Objective, Reads, Rewards, logps_per_token, policy_and_lengths
from dpo_lightning.losses.precision import (
    expm1_with_straight_tail,
    margin,
    per_token,
)
from dpo_lightning.losses.scores import PairScores
from dpo_lightning.utils.settings import NOT_NEGATIVE, POSITIVE, Rule, require


def simpo(
    chosen_logps: Float[Tensor, " P"],
    rejected_logps: Float[Tensor, " P"],
    chosen_lengths: Int[Tensor, " P"],
    rejected_lengths: Int[Tensor, " P"],
    *,
    beta: float,
    gamma_beta_ratio: float,
) -> Float[Tensor, " P"]:
    r"""Simple Preference Optimization, arXiv:2405.14734 equation 6.

    .. math:: L = -\log\sigma\left(\frac{\beta}{|y_w|}\log\pi(y_w|x) - \frac{\beta}{|y_l|}\log\pi(y_l|x) - \gamma\right)

    Args:
        chosen_logps: `[P]`, summed nats of the policy.
        rejected_logps: `[P]`, summed nats of the policy.
        chosen_lengths: `[P]`, tokens, > 0.
        rejected_lengths: `[P]`, tokens, > 0.
        beta: Scale of the reward, > 0.
        gamma_beta_ratio: Target margin `gamma / beta`, >= 0, in nats per token.

    Returns:
        `[P]`; ln 2 where the margin of the mean log-probs is the target.
    """
    means = per_token(chosen_logps, chosen_lengths), per_token(rejected_logps, rejected_lengths)
    return -F.logsigmoid(beta * (margin(*means) - gamma_beta_ratio))


@dataclass(frozen=True)
class SimPO(Objective):
    """Simple Preference Optimization, arXiv:2405.14734; reward = beta x log-prob per token.

    Needs no reference. A small learning rate keeps the policy near its start: the paper takes 3e-7 to 1e-6, and calls
    it the setting that matters most.

    Args:
        beta: Scale of the reward, > 0; the paper uses 2.0 to 2.5, and 10 for models that were tuned well before.
        gamma_beta_ratio: Target margin gamma / beta, >= 0, in nats per token; the paper uses 0.1 to 0.8.

    Example:
        >>> import torch
        >>> from dpo_lightning.losses import SimPO
        >>> from dpo_lightning.losses.scores import PairScores
        >>> logps = torch.tensor([[-6.0], [-9.0], [0.0], [0.0]])  # the reference's are not read
        >>> scores = PairScores(*logps, chosen_lengths=torch.tensor([4]), rejected_lengths=torch.tensor([3]))
        >>> SimPO(beta=2.0, gamma_beta_ratio=0.5)(scores)  # -log sigmoid(2 x (-1.5 + 3 - 0.5))
        tensor([0.1269])
        >>> SimPO(beta=2.0).rewards(scores)
        (tensor([-3.]), tensor([-6.]))
    """

    beta: float = 2.0
    gamma_beta_ratio: float = 0.5
    reads: ClassVar[Reads] = Reads.LIKELIHOOD | Reads.LENGTHS

    def __post_init__(self) -> None:
        require(self, beta=POSITIVE, gamma_beta_ratio=NOT_NEGATIVE)

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `simpo`."""
        return simpo(*policy_and_lengths(scores), beta=self.beta, gamma_beta_ratio=self.gamma_beta_ratio)

    def rewards(self, scores: PairScores) -> Rewards:
        """Return beta x log-prob per token of the chosen and of the rejected completions, each `[P]`, equation 4."""
        chosen, rejected = logps_per_token(scores)
        return self.beta * chosen, self.beta * rejected


def alphapo(
    chosen_logps: Float[Tensor, " P"],
    rejected_logps: Float[Tensor, " P"],
    chosen_lengths: Int[Tensor, " P"],
    rejected_lengths: Int[Tensor, " P"],
    *,
    beta: float,
    alpha: float,
    gamma_beta_ratio: float,
) -> Float[Tensor, " P"]:
    r"""AlphaPO, arXiv:2501.03884: SimPO with a reward that is a power of the likelihood.

    .. math:: L = -\log\sigma(r(y_w) - r(y_l) - \gamma), \quad
        r(y) = \frac{\beta}{\alpha}\left(1 - \pi(y|x)^{-\alpha/|y|}\right)

    In the limit `alpha -> 0` it is SimPO. From exp(30) on, the tangent continues the power, so that nothing overflows.

    Args:
        chosen_logps: `[P]`, summed nats of the policy.
        rejected_logps: `[P]`, summed nats of the policy.
        chosen_lengths: `[P]`, tokens, > 0.
        rejected_lengths: `[P]`, tokens, > 0.
        beta: Scale of the reward, > 0.
        alpha: Shape of the reward, not 0. A positive one has the largest gradients for unlikely completions.
        gamma_beta_ratio: Target margin `gamma / beta`, >= 0.

    Returns:
        `[P]`; ln 2 where the margin of the rewards is the target.
    """
    rewards = (
        alphapo_reward(chosen_logps, chosen_lengths, beta=beta, alpha=alpha),
        alphapo_reward(rejected_logps, rejected_lengths, beta=beta, alpha=alpha),
    )
    return -F.logsigmoid(margin(*rewards) - beta * gamma_beta_ratio)


def alphapo_reward(
    logps: Float[Tensor, " P"], lengths: Int[Tensor, " P"], *, beta: float, alpha: float
) -> Float[Tensor, " P"]:
    """Return the reward `r(y)` of `alphapo`, `[P]`, from summed nats and lengths in tokens."""
    return -beta / alpha * expm1_with_straight_tail(-alpha * per_token(logps, lengths))


@dataclass(frozen=True)
class AlphaPO(Objective):
    """AlphaPO, arXiv:2501.03884; reward = beta (1 - p^(-alpha)) / alpha, with p the likelihood per token.

    Use it where SimPO lowers the likelihood of the chosen completions too far, or is too slow; alpha sets the balance.

    Args:
        beta: Scale of the reward, > 0; as in SimPO.
        alpha: Shape of the reward, not 0 (which is SimPO); the paper finds small positive ones best, such as 0.25.
        gamma_beta_ratio: Target margin gamma / beta, >= 0; as in SimPO.
    """

    beta: float = 2.5
    alpha: float = 0.25
    gamma_beta_ratio: float = 0.1
    reads: ClassVar[Reads] = Reads.LIKELIHOOD | Reads.LENGTHS

    def __post_init__(self) -> None:
        bent = Rule("a finite number other than 0", lambda value: math.isfinite(value) and value != 0, ": 0 is SimPO")
        require(self, beta=POSITIVE, alpha=bent, gamma_beta_ratio=NOT_NEGATIVE)

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `alphapo`."""
        return alphapo(
            *policy_and_lengths(scores), beta=self.beta, alpha=self.alpha, gamma_beta_ratio=self.gamma_beta_ratio
        )

    def rewards(self, scores: PairScores) -> Rewards:
        """Return the reward of the chosen and of the rejected completions, each `[P]`, see `alphapo_reward`."""
        chosen, rejected, chosen_lengths, rejected_lengths = policy_and_lengths(scores)
        return (
            alphapo_reward(chosen, chosen_lengths, beta=self.beta, alpha=self.alpha),
            alphapo_reward(rejected, rejected_lengths, beta=self.beta, alpha=self.alpha),
        )
