"""DPO-Positive, which keeps the chosen completion as likely as under the reference."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.losses.base import logratios
from dpo_lightning.losses.beta import BetaObjective
from dpo_lightning.losses.precision import at_least_float32, margin
from dpo_lightning.losses.scores import PairScores
from dpo_lightning.utils.settings import NOT_NEGATIVE, POSITIVE, require


def dpop(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    *,
    beta: float,
    penalty: float,
) -> Float[Tensor, " P"]:
    r"""DPO-Positive (DPOP, Smaug), arXiv:2402.13228.

    .. math:: L = -\log\sigma\left(\beta\left(\rho_w - \rho_l - \lambda\max(0, -\rho_w)\right)\right)

    with `rho` the log-ratios. While the chosen completion is less likely than under the reference, the penalty on it
    dominates the gradient.

    Args:
        chosen_logratio: `[P]`, nats.
        rejected_logratio: `[P]`, nats.
        beta: Strength of the pull towards the reference, > 0.
        penalty: Lambda, the cost of a nat lost on the chosen completion, in nats of margin, >= 0; 0 is DPO.

    Returns:
        `[P]`; ln 2 where both log-ratios are 0.
    """
    lost = F.relu(-at_least_float32(chosen_logratio))
    return -F.logsigmoid(beta * (margin(chosen_logratio, rejected_logratio) - penalty * lost))


@dataclass(frozen=True)
class DPOP(BetaObjective):
    """DPO-Positive (DPOP, Smaug), arXiv:2402.13228; reward = beta x log-ratio.

    Use it for pairs that differ in few tokens, as in mathematics, where DPO lowers the chosen completions as well.

    Args:
        beta: Strength of the pull towards the reference, > 0; the paper uses 0.3.
        penalty: Lambda, the cost of a nat lost on the chosen completion, >= 0; the paper uses 50, and tries 5 and 500.
    """

    beta: float = 0.3
    penalty: float = 50.0

    def __post_init__(self) -> None:
        require(self, beta=POSITIVE, penalty=NOT_NEGATIVE)

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `dpop`."""
        return dpop(*logratios(scores), beta=self.beta, penalty=self.penalty)
