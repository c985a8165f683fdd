"""DiscoPOP: the log-ratio modulated loss, found by a language model."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.losses.base import MarginObjective, logratios
from dpo_lightning.losses.beta import BetaObjective
from dpo_lightning.losses.precision import margin
from dpo_lightning.losses.scores import PairScores
from dpo_lightning.utils.settings import POSITIVE, Rule, require


def discopop(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    *,
    beta: float,
    tau: float,
) -> Float[Tensor, " P"]:
    r"""Discovered preference optimization (DiscoPOP, the log-ratio modulated loss), arXiv:2406.08414 equation 5.

    .. math:: L = -(1 - m) \log\sigma(x) + m\, e^{-x}, \quad x = \beta\Delta,\; m = \sigma(x / \tau)

    with `Delta` the chosen minus the rejected log-ratio. It is logistic where the pair is ranked wrongly, exponential
    where it is ranked rightly. The loss is not convex: with the paper's settings it *rises* with the margin for
    `-0.119 < x < 0.072`, the start of training included, and has a local minimum at -0.119.

    Args:
        chosen_logratio: `[P]`, nats.
        rejected_logratio: `[P]`, nats.
        beta: Strength of the pull towards the reference, > 0.
        tau: Width of the change from one loss to the other, in `(0, 1]`.

    Returns:
        `[P]`; (1 + ln 2) / 2 where the two log-ratios are equal.
    """
    scaled_margin = beta * margin(chosen_logratio, rejected_logratio)
    modulation = scaled_margin / tau
    # m e^-x as one exponential: its exponent is never positive for tau <= 1, while e^-x alone overflows.
    exponential = (F.logsigmoid(modulation) - scaled_margin).exp()
    return exponential - (-modulation).sigmoid() * F.logsigmoid(scaled_margin)


@dataclass(frozen=True)
class DiscoPOP(BetaObjective, MarginObjective):
    """Discovered preference optimization (DiscoPOP), arXiv:2406.08414; reward = beta x log-ratio.

    Found by search, not derived. It is not convex: near the start the gradient lowers a pair's margin until other pairs
    carry it past the local maximum, so use diverse batches and a learning rate that is not small.

    Args:
        beta: Strength of the pull towards the reference, > 0; the paper uses 0.05.
        tau: Width of the change from one loss to the other, in (0, 1]; the paper uses 0.05.
    """

    beta: float = 0.05
    tau: float = 0.05

    def __post_init__(self) -> None:
        require(self, beta=POSITIVE, tau=POSITIVE)
        require(self, tau=Rule("at most 1", lambda value: value <= 1, remedy=": above, wrong pairs overflow"))

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `discopop`."""
        return discopop(*logratios(scores), beta=self.beta, tau=self.tau)
