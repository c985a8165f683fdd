"""Efficient exact optimization (EXO): the reverse KL divergence from the labels, instead of DPO's forward one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.losses.base import MarginObjective, logratios
from dpo_lightning.losses.beta import BetaObjective
from dpo_lightning.losses.precision import margin
from dpo_lightning.losses.scores import PairScores
from dpo_lightning.utils.settings import POSITIVE, Rule, require


def exo(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    *,
    beta: float,
    label_smoothing: float,
) -> Float[Tensor, " P"]:
    r"""Efficient exact optimization (EXO) on preferences, arXiv:2402.00856 equation 16.

    .. math:: L = q \log\frac{q}{1-\varepsilon} + (1-q) \log\frac{1-q}{\varepsilon}, \quad q = \sigma(\beta\Delta)

    with `Delta` the chosen minus the rejected log-ratio: the KL divergence of the policy's preference `(q, 1 - q)` from
    the smoothed label `(1 - epsilon, epsilon)`. It is 0 at `beta Delta = log((1 - epsilon) / epsilon)`, where the
    policy is as sure as the label, and rises again beyond.

    Args:
        chosen_logratio: `[P]`, nats.
        rejected_logratio: `[P]`, nats.
        beta: The policy's temperature, beta_pi in the paper, > 0.
        label_smoothing: Probability that the label gives the rejected completion, in `(0, 0.5)`; at 0 the divergence is
            infinite.

    Returns:
        `[P]`, nats.
    """
    scaled_margin = beta * margin(chosen_logratio, rejected_logratio)
    on_chosen = F.logsigmoid(scaled_margin) - math.log1p(-label_smoothing)
    on_rejected = F.logsigmoid(-scaled_margin) - math.log(label_smoothing)
    return scaled_margin.sigmoid() * on_chosen + (-scaled_margin).sigmoid() * on_rejected


@dataclass(frozen=True)
class EXO(BetaObjective, MarginObjective):
    """Efficient exact optimization (EXO) on preferences, arXiv:2402.00856; reward = beta x log-ratio.

    Mode-seeking: where one policy cannot fit all labels, it fits some well. A pair that the policy ranks very wrongly
    has a small gradient, since q (1 - q) vanishes, so start from a policy that was tuned on such completions.

    Args:
        beta: The policy's temperature, > 0; the authors' scripts have 0.5.
        label_smoothing: Probability that the label gives the rejected completion, in (0, 0.5); the authors' code has
            e^-10.
    """

    beta: float = 0.5
    label_smoothing: float = 4.54e-5
    scales_with_beta: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self, beta=POSITIVE, label_smoothing=Rule("in (0, 0.5)", lambda value: 0 < value < 0.5))

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `exo`."""
        return exo(*logratios(scores), beta=self.beta, label_smoothing=self.label_smoothing)
