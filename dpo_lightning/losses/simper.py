"""SimPER: preference optimization by inverse perplexities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from dpo_lightning.losses.base import Objective, Reads, Rewards, logps_per_token, policy_and_lengths
from dpo_lightning.losses.precision import expm1_with_straight_tail, per_token, require_one_shape
from dpo_lightning.losses.scores import PairScores


def simper(
    chosen_logps: Float[Tensor, " P"],
    rejected_logps: Float[Tensor, " P"],
    chosen_lengths: Int[Tensor, " P"],
    rejected_lengths: Int[Tensor, " P"],
) -> Float[Tensor, " P"]:
    r"""SimPER, arXiv:2502.00883: the inverse perplexity of the rejected completion minus that of the chosen one.

    .. math:: L = -\exp\Big(\frac{1}{|y_w|}\log\pi(y_w|x)\Big) + \exp\Big(\frac{1}{|y_l|}\log\pi(y_l|x)\Big)

    Args:
        chosen_logps: `[P]`, summed nats of the policy.
        rejected_logps: `[P]`, summed nats of the policy.
        chosen_lengths: `[P]`, tokens, > 0.
        rejected_lengths: `[P]`, tokens, > 0.

    Returns:
        `[P]`, between -1 and 1; 0 where the perplexities are equal.
    """
    require_one_shape(chosen_logps, rejected_logps)
    chosen, rejected = per_token(chosen_logps, chosen_lengths), per_token(rejected_logps, rejected_lengths)
    return expm1_with_straight_tail(rejected) - expm1_with_straight_tail(chosen)


@dataclass(frozen=True)
class SimPER(Objective):
    """SimPER, arXiv:2502.00883; reward = log-prob per token.

    Needs no reference and has no setting. The loss is bounded, and its gradient fades for completions that the policy
    hardly writes, so that it drives likelihoods down less than SimPO.
    """

    reads: ClassVar[Reads] = Reads.LIKELIHOOD | Reads.LENGTHS

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `simper`."""
        return simper(*policy_and_lengths(scores))

    def rewards(self, scores: PairScores) -> Rewards:
        """Return the policy's log-prob per token of the chosen and of the rejected completions, each `[P]`, in nats."""
        return logps_per_token(scores)
