"""Robust DPO: an unbiased estimate of the DPO loss of clean labels from noisy ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.losses.base import MarginObjective, logratios
from dpo_lightning.losses.beta import BetaObjective
from dpo_lightning.losses.precision import margin
from dpo_lightning.losses.scores import PairScores
from dpo_lightning.utils.settings import POSITIVE, SHARE_OF_FLIPS, require


def robust_dpo(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    *,
    beta: float,
    label_smoothing: float,
) -> Float[Tensor, " P"]:
    r"""Robust DPO (rDPO), arXiv:2403.00409.

    .. math:: L = \frac{-(1-\varepsilon)\log\sigma(\beta\Delta) + \varepsilon\log\sigma(-\beta\Delta)}{1-2\varepsilon}

    with `Delta` the chosen minus the rejected log-ratio. Where a share `epsilon` of the labels is flipped, the
    expectation over the flips is the DPO loss of the true labels. Unlike the smoothed loss it keeps falling, with the
    slope `-epsilon beta / (1 - 2 epsilon)`, and has no lower bound.

    Args:
        chosen_logratio: `[P]`, nats.
        rejected_logratio: `[P]`, nats.
        beta: Strength of the pull towards the reference, > 0. Smaller lets the policy move further.
        label_smoothing: The share of flipped labels, in `[0, 0.5)`; 0 is DPO.

    Returns:
        `[P]`; ln 2 where the two log-ratios are equal.
    """
    scaled_margin = beta * margin(chosen_logratio, rejected_logratio)
    as_labelled, as_flipped = -F.logsigmoid(scaled_margin), -F.logsigmoid(-scaled_margin)
    return ((1 - label_smoothing) * as_labelled - label_smoothing * as_flipped) / (1 - 2 * label_smoothing)


@dataclass(frozen=True)
class RobustDPO(BetaObjective, MarginObjective):
    """Robust DPO (rDPO), arXiv:2403.00409; reward = beta x log-ratio.

    Use it for labels of which a known share is flipped at random. Prefer `DPO(label_smoothing=...)` where the share is
    a guess: this loss has no minimum at a finite margin.

    Args:
        beta: Strength of the pull towards the reference, > 0; 0.1 is DPO's usual one.
        label_smoothing: Share of flipped labels, in [0, 0.5), known or estimated from the data.
    """

    beta: float = 0.1
    label_smoothing: float = 0.1
    scales_with_beta: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self, beta=POSITIVE, label_smoothing=SHARE_OF_FLIPS)

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `robust_dpo`."""
        return robust_dpo(*logratios(scores), beta=self.beta, label_smoothing=self.label_smoothing)
