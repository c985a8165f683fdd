"""DPO with a beta that follows the mean margin of the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.losses.base import MarginObjective, Observation, Reads, baseline_of, logratios
from dpo_lightning.losses.beta import BetaObjective
from dpo_lightning.losses.precision import margin
from dpo_lightning.losses.scores import Baseline, PairScores
from dpo_lightning.utils.settings import MOMENTUM, NOT_NEGATIVE, POSITIVE, Rule, require

SMALLEST_SHARE = 0.01
"""Lower bound of beta / beta_0, so that a batch of narrow margins does not reverse the sign of the loss."""


def beta_dpo(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    *,
    beta: float,
    alpha: float,
    batch_margin: Float[Tensor, ""],
    usual_margin: Float[Tensor, ""],
) -> Float[Tensor, " P"]:
    r"""DPO with dynamic beta (beta-DPO), arXiv:2407.08639, at the batch level.

    .. math:: L = -\log\sigma(\beta\Delta), \quad \beta = \max(1 + \alpha(\bar M - M_0),\; 0.01)\,\beta_0

    with `Delta` the chosen minus the rejected log-ratio and `M` its mean: the barred one over the batch, `M_0` over the
    training so far. A batch with wide margins moves the policy less. Beta has no gradient.

    Args:
        chosen_logratio: `[P]`, nats.
        rejected_logratio: `[P]`, nats.
        beta: The paper's beta_0, > 0: beta for a batch with the usual margin.
        alpha: How much beta follows the margin, per nat, >= 0; 0 is DPO.
        batch_margin: Mean margin of the batch, nats, 0-d.
        usual_margin: Running mean of it, nats, 0-d.

    Returns:
        `[P]`; ln 2 where the two log-ratios are equal.
    """
    share = share_of_beta(Baseline(batch_margin, usual_margin), alpha=alpha)
    return -F.logsigmoid(beta * share * margin(chosen_logratio, rejected_logratio))


def require_following(owner: Any) -> None:
    """Check `alpha` and `momentum` of an objective whose beta follows the margin.

    Raises:
        InputError: naming the field.
    """
    require(owner, alpha=NOT_NEGATIVE, momentum=MOMENTUM)
    past = Rule("above 0", lambda value: value > 0, ": without a past, the usual margin is the batch's own")
    require(owner, momentum=past)


def share_of_beta(margins: Baseline, *, alpha: float) -> Float[Tensor, ""]:
    """Return beta / beta_0, 0-d, without a graph, from the mean margin of the batch and the usual one, in nats."""
    return (1 + alpha * (margins.batch - margins.running)).clamp(min=SMALLEST_SHARE)


@dataclass(frozen=True)
class BetaDPO(BetaObjective, MarginObjective):
    """DPO with dynamic beta (beta-DPO), arXiv:2407.08639; reward = beta x log-ratio, with the beta that is set.

    Use it where the quality of the pairs varies over the data. The mean margin is over the micro-batch on all ranks.

    Args:
        beta: Beta for a batch with the usual margin, > 0; the paper uses 0.1.
        alpha: How much beta follows the margin, per nat, >= 0; the paper uses 0.6.
        momentum: Share of the past in the usual margin, which moves with each micro-batch, in (0, 1); the paper uses
            0.9.
    """

    beta: float = 0.1
    alpha: float = 0.6
    momentum: float = 0.9
    reads: ClassVar[Reads] = Reads.REFERENCE | Reads.BASELINE

    def __post_init__(self) -> None:
        require(self, beta=POSITIVE)
        require_following(self)

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `beta_dpo`."""
        means = baseline_of(scores)
        return beta_dpo(
            *logratios(scores), beta=self.beta, alpha=self.alpha, batch_margin=means.batch, usual_margin=means.running
        )

    def observe(self, scores: PairScores) -> Observation:
        """Return the margins of the log-ratios, `[P]`, in nats."""
        return Observation(margin(*logratios(scores)).detach(), self.momentum)
