"""Anchored preference optimization, in its variants zero and down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from dpo_lightning.losses.base import logratios
from dpo_lightning.losses.beta import BetaObjective
from dpo_lightning.losses.precision import at_least_float32, margin, require_one_shape
from dpo_lightning.losses.scores import PairScores


def apo_zero(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    *,
    beta: float,
) -> Float[Tensor, " P"]:
    r"""Anchored preference optimization, zero (APO-zero), arXiv:2408.06266 equation 7 plus 1.

    .. math:: L = 1 - \sigma(\beta\rho_w) + \sigma(\beta\rho_l)

    with `rho` the log-ratios. The chosen completion rises and the rejected one falls, each against the reference, and
    both saturate. The constant keeps the loss positive.

    Args:
        chosen_logratio: `[P]`, nats.
        rejected_logratio: `[P]`, nats.
        beta: Inverse of the log-ratio at which a completion's loss saturates, > 0.

    Returns:
        `[P]` in `(0, 2)`; 1 where both log-ratios are 0.
    """
    require_one_shape(chosen_logratio, rejected_logratio)
    return (-beta * at_least_float32(chosen_logratio)).sigmoid() + (
        beta * at_least_float32(rejected_logratio)
    ).sigmoid()


def apo_down(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    *,
    beta: float,
) -> Float[Tensor, " P"]:
    r"""Anchored preference optimization, down (APO-down), arXiv:2408.06266 equation 8 plus 1.

    .. math:: L = \sigma(\beta\rho_w) + 1 - \sigma(\beta(\rho_w - \rho_l))

    with `rho` the log-ratios. Both completions fall, the rejected one further. The constant keeps the loss positive.

    Args:
        chosen_logratio: `[P]`, nats.
        rejected_logratio: `[P]`, nats.
        beta: Inverse of the log-ratio at which a completion's loss saturates, > 0.

    Returns:
        `[P]` in `(0, 2)`; 1 where both log-ratios are 0.
    """
    scaled_margin = beta * margin(chosen_logratio, rejected_logratio)
    return (beta * at_least_float32(chosen_logratio)).sigmoid() + (-scaled_margin).sigmoid()


@dataclass(frozen=True)
class APOZero(BetaObjective):
    """Anchored preference optimization, zero, arXiv:2408.06266; reward = beta x log-ratio.

    Use it where the chosen completions are better than what the policy writes.

    Args:
        beta: Inverse of the log-ratio at which a completion's loss saturates, > 0; the paper uses 0.1.
    """

    beta: float = 0.1
    scales_with_beta: ClassVar[bool] = True

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `apo_zero`."""
        return apo_zero(*logratios(scores), beta=self.beta)


@dataclass(frozen=True)
class APODown(BetaObjective):
    """Anchored preference optimization, down, arXiv:2408.06266; reward = beta x log-ratio.

    Use it where the policy writes better than the chosen completions: it learns from the contrast alone.

    Args:
        beta: Inverse of the log-ratio at which a completion's loss saturates, > 0; the paper uses 0.1.
    """

    beta: float = 0.1
    scales_with_beta: ClassVar[bool] = True

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `apo_down`."""
        return apo_down(*logratios(scores), beta=self.beta)
