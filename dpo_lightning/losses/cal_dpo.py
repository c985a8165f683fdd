"""Calibrated DPO, which holds the rewards to a scale."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from dpo_lightning.losses.base import logratios
from dpo_lightning.losses.beta import BetaObjective
from dpo_lightning.losses.dpo import dpo
from dpo_lightning.losses.scores import PairScores
from dpo_lightning.losses.sppo import sppo


def cal_dpo(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    *,
    beta: float,
) -> Float[Tensor, " P"]:
    r"""Calibrated DPO (Cal-DPO), arXiv:2412.14516.

    .. math:: L = -\log\sigma(\rho_w - \rho_l)
        + \left(\rho_w - \frac{1}{2\beta}\right)^2 + \left(\rho_l + \frac{1}{2\beta}\right)^2

    with `rho` the log-ratios. The first term has no beta. The calibration, which is SPPO's regression, sets the scale:
    it pulls the rewards, beta x log-ratio, to 1/2 and -1/2. The authors' code has half of the calibration.

    Args:
        chosen_logratio: `[P]`, nats.
        rejected_logratio: `[P]`, nats.
        beta: Strength of the pull towards the reference, > 0: the log-ratios are pulled to 1 / (2 beta) and minus that.

    Returns:
        `[P]`; `ln 2 + 1 / (2 beta^2)` where both log-ratios are 0.
    """
    return dpo(chosen_logratio, rejected_logratio, beta=1.0) + sppo(chosen_logratio, rejected_logratio, beta=beta)


@dataclass(frozen=True)
class CalDPO(BetaObjective):
    """Calibrated DPO (Cal-DPO), arXiv:2412.14516; reward = beta x log-ratio.

    Use it where the chosen completions' likelihood falls under DPO: rewards are pulled to 1/2 and -1/2, not only apart.

    Args:
        beta: Strength of the pull towards the reference, > 0; the paper uses 0.001.
    """

    beta: float = 0.001

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `cal_dpo`."""
        return cal_dpo(*logratios(scores), beta=self.beta)
