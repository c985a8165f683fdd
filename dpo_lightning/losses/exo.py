"""EXO: the reverse KL divergence from the labels, where DPO has the forward one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.errors import InputError
from dpo_lightning.losses.base import MarginObjective, Reads, Rewards, scaled_logratios
from dpo_lightning.losses.numeric import margin, require_positive
from dpo_lightning.losses.scores import PairScores


def exo(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    *,
    beta: float,
    label_smoothing: float,
) -> Float[Tensor, " P"]:
    r"""Efficient exact optimization (EXO) on preferences, arXiv:2402.00856 equation 16.

    .. math:: L = q \log\frac{q}{1-\varepsilon} + (1-q) \log\frac{1-q}{\varepsilon}, \quad q = \sigma(\beta\Delta)

    with :math:`\Delta` the chosen minus the rejected log-ratio: the KL divergence of the policy's preference
    :math:`(q, 1-q)` from the smoothed label :math:`(1-\varepsilon, \varepsilon)`. It is 0 where the policy is as sure
    as the label, at :math:`\beta\Delta = \log((1-\varepsilon)/\varepsilon)`, and pulls back beyond.

    Args:
        chosen_logratio: ``[P]``, nats.
        rejected_logratio: ``[P]``, nats.
        beta: The policy's temperature, beta_pi in the paper, > 0.
        label_smoothing: What the label leaves for the rejected completion, in ``(0, 0.5)``; at 0 the divergence is
            infinite.

    Returns:
        ``[P]``, nats.
    """
    scaled_margin = beta * margin(chosen_logratio, rejected_logratio)
    on_chosen = F.logsigmoid(scaled_margin) - math.log1p(-label_smoothing)
    on_rejected = F.logsigmoid(-scaled_margin) - math.log(label_smoothing)
    return scaled_margin.sigmoid() * on_chosen + (-scaled_margin).sigmoid() * on_rejected


@dataclass(frozen=True)
class EXO(MarginObjective):
    """Efficient exact optimization (EXO) on preferences, arXiv:2402.00856; reward = beta x log-ratio.

    Mode-seeking: where one policy cannot fit all labels, it fits some well. A pair that the policy has very wrong pulls
    little, since q (1 - q) vanishes, so start from a policy that was tuned on such completions.

    Args:
        beta: The policy's temperature, > 0; the authors' scripts have 0.5.
        label_smoothing: What the label leaves for the rejected completion, in (0, 0.5); the authors' code has e^-10.
    """

    beta: float = 0.5
    label_smoothing: float = 4.54e-5
    reads: ClassVar[Reads] = Reads.REFERENCE

    def __post_init__(self) -> None:
        require_positive("EXO.beta", self.beta)
        if not 0 < self.label_smoothing < 0.5:
            raise InputError(f"EXO.label_smoothing must be in (0, 0.5), got {self.label_smoothing}")

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """See :func:`exo`."""
        return exo(
            scores.chosen_logratio, scores.rejected_logratio, beta=self.beta, label_smoothing=self.label_smoothing
        )

    def rewards(self, scores: PairScores) -> Rewards:
        """Beta x log-ratio."""
        return scaled_logratios(scores, self.beta)
