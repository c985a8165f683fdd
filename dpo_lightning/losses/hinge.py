"""The hinge loss of SLiC-HF and RSO."""

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


def hinge(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    *,
    beta: float,
) -> Float[Tensor, " P"]:
    r"""Hinge loss on the scaled margin: SLiC-HF (arXiv:2305.10425) as normalised in RSO (arXiv:2309.06657 equation 9).

    .. math:: L = \max(0,\; 1 - \beta\Delta)

    Args:
        chosen_logratio: `[P]`, nats.
        rejected_logratio: `[P]`, nats.
        beta: Inverse of the margin from which a pair has no gradient, > 0.

    Returns:
        `[P]`; 1 where the two log-ratios are equal.
    """
    return F.relu(1 - beta * margin(chosen_logratio, rejected_logratio))


@dataclass(frozen=True)
class Hinge(BetaObjective, MarginObjective):
    """Hinge loss on the log-ratio margin (SLiC-HF, arXiv:2305.10425; RSO, arXiv:2309.06657); reward = beta x log-ratio.

    A pair whose margin is above 1 / beta has no gradient, so easy pairs do not drag the policy from its reference.

    Args:
        beta: Inverse of the margin from which a pair has no gradient, > 0; 0.1 where nothing is known.
    """

    beta: float = 0.1
    scales_with_beta: ClassVar[bool] = True

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `hinge`."""
        return hinge(*logratios(scores), beta=self.beta)
