"""Self-play preference optimization with hard labels."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from dpo_lightning.losses.base import logratios
from dpo_lightning.losses.beta import BetaObjective
from dpo_lightning.losses.precision import at_least_float32, require_one_shape
from dpo_lightning.losses.scores import PairScores


def sppo(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    *,
    beta: float,
) -> Float[Tensor, " P"]:
    r"""Self-play preference optimization (SPPO) with hard labels, arXiv:2405.00675 equation 4.7.

    .. math:: L = \left(\rho_w - \frac{1}{2\beta}\right)^2 + \left(\rho_l + \frac{1}{2\beta}\right)^2

    with `rho` the log-ratios. The paper regresses `rho` on `eta (P - 1/2)`, with `P` the probability that the
    completion beats the policy. Hard labels are `P = 1` and 0, and `eta = 1 / beta`. The authors' code has
    half of this loss.

    Args:
        chosen_logratio: `[P]`, nats.
        rejected_logratio: `[P]`, nats.
        beta: Inverse of the step size eta, > 0: each log-ratio is pulled to 1 / (2 beta), or minus that.

    Returns:
        `[P]`; `1 / (2 beta^2)` where both log-ratios are 0.
    """
    require_one_shape(chosen_logratio, rejected_logratio)
    target = 1 / (2 * beta)
    return (at_least_float32(chosen_logratio) - target).square() + (
        at_least_float32(rejected_logratio) + target
    ).square()


@dataclass(frozen=True)
class SPPO(BetaObjective):
    """Self-play preference optimization (SPPO) with hard labels, arXiv:2405.00675; reward = beta x log-ratio.

    Use it for rounds of self-play, on pairs sampled from the policy, which is then the next round's reference. The loss
    starts at 1 / (2 beta^2), so the gradients are large and the clipping of their norm sets the step.

    Args:
        beta: Inverse of the step size eta, > 0; the paper uses eta = 1000, beta = 0.001.
    """

    beta: float = 0.001

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `sppo`."""
        return sppo(*logratios(scores), beta=self.beta)
