"""Noise contrastive alignment, on pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.losses.base import logratios
from dpo_lightning.losses.beta import BetaObjective
from dpo_lightning.losses.precision import at_least_float32, require_one_shape
from dpo_lightning.losses.scores import PairScores


def nca(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    *,
    beta: float,
) -> Float[Tensor, " P"]:
    r"""Noise contrastive alignment (NCA) on preferences, arXiv:2402.05369, the pairwise case.

    .. math:: L = -\log\sigma(r_w) - \tfrac12\log\sigma(-r_w) - \tfrac12\log\sigma(-r_l)

    with `r` = beta x log-ratio. It classifies completions of the data against those of the reference. The reward of
    each completion counts by itself, so that the chosen one does not fall while the margin grows; the chosen reward is
    pulled to ln 2.

    Args:
        chosen_logratio: `[P]`, nats.
        rejected_logratio: `[P]`, nats.
        beta: Strength of the pull towards the reference, > 0.

    Returns:
        `[P]`; 2 ln 2 where both log-ratios are 0.
    """
    require_one_shape(chosen_logratio, rejected_logratio)
    chosen, rejected = beta * at_least_float32(chosen_logratio), beta * at_least_float32(rejected_logratio)
    return -F.logsigmoid(chosen) - 0.5 * F.logsigmoid(-chosen) - 0.5 * F.logsigmoid(-rejected)


@dataclass(frozen=True)
class NCA(BetaObjective):
    """Noise contrastive alignment (NCA), arXiv:2402.05369; reward = beta x log-ratio.

    Use it where DPO lowers the chosen completions' likelihood as well, as in reasoning and mathematics.

    Args:
        beta: Strength of the pull towards the reference, > 0; the authors use 0.01.
    """

    beta: float = 0.01
    scales_with_beta: ClassVar[bool] = True

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `nca`."""
        return nca(*logratios(scores), beta=self.beta)
