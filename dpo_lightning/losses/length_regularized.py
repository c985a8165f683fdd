"""Length-regularised DPO, which does not learn the part of a preference that the length explains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from dpo_lightning.losses.base import MarginObjective, Reads, logratios
from dpo_lightning.losses.beta import BetaObjective
from dpo_lightning.losses.precision import margin, require_one_shape
from dpo_lightning.losses.scores import PairScores
from dpo_lightning.utils.settings import NOT_NEGATIVE, POSITIVE, require


def length_regularized_dpo(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    chosen_lengths: Int[Tensor, " P"],
    rejected_lengths: Int[Tensor, " P"],
    *,
    beta: float,
    alpha: float,
) -> Float[Tensor, " P"]:
    r"""Length-regularised DPO (R-DPO), arXiv:2403.19159.

    .. math:: L = -\log\sigma\left(\beta\Delta + \alpha(|y_w| - |y_l|)\right)

    with `Delta` the chosen minus the rejected log-ratio. It is DPO for the reward `r - alpha |y|`: a pair whose chosen
    completion is the longer one has a smaller gradient.

    Args:
        chosen_logratio: `[P]`, nats.
        rejected_logratio: `[P]`, nats.
        chosen_lengths: `[P]`, tokens.
        rejected_lengths: `[P]`, tokens.
        beta: Strength of the pull towards the reference, > 0.
        alpha: Cost of a token, in units of the reward, >= 0; 0 is DPO.

    Returns:
        `[P]`; ln 2 where log-ratios and lengths are equal.
    """
    require_one_shape(chosen_logratio, rejected_logratio, chosen_lengths, rejected_lengths)
    scaled_margin = beta * margin(chosen_logratio, rejected_logratio)
    return -F.logsigmoid(scaled_margin + alpha * (chosen_lengths - rejected_lengths).to(scaled_margin.dtype))


@dataclass(frozen=True)
class LengthRegularizedDPO(BetaObjective, MarginObjective):
    """Length-regularised DPO (R-DPO), arXiv:2403.19159; reward = beta x log-ratio.

    Use it where the labels favour length, and the policy grows verbose under DPO.

    Args:
        beta: Strength of the pull towards the reference, > 0; 0.1 is DPO's usual one.
        alpha: Cost of a token, in units of the reward, >= 0; at 0.01 a hundred tokens weigh like a reward of 1.
            SimPO's comparison, arXiv:2405.14734, searches 0.05 to 1.
    """

    beta: float = 0.1
    alpha: float = 0.01
    reads: ClassVar[Reads] = Reads.REFERENCE | Reads.LENGTHS

    def __post_init__(self) -> None:
        require(self, beta=POSITIVE, alpha=NOT_NEGATIVE)

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `length_regularized_dpo`."""
        return length_regularized_dpo(
            *logratios(scores), scores.chosen_lengths, scores.rejected_lengths, beta=self.beta, alpha=self.alpha
        )
