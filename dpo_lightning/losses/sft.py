"""Supervised fine-tuning on the chosen completions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from dpo_lightning.losses.base import ChosenObjective, Reads, Rewards, logps_per_token
from dpo_lightning.losses.precision import per_token
from dpo_lightning.losses.scores import ChosenScores, PairScores


def sft(chosen_logps: Float[Tensor, " P"], chosen_lengths: Int[Tensor, " P"]) -> Float[Tensor, " P"]:
    r"""Supervised fine-tuning on the chosen completions: the mean negative log-likelihood of their tokens.

    .. math:: L = -\frac{1}{|y_w|} \log\pi(y_w | x)

    Args:
        chosen_logps: `[P]`, summed nats of the policy.
        chosen_lengths: `[P]`, tokens, > 0.

    Returns:
        `[P]`, nats per token.
    """
    return -per_token(chosen_logps, chosen_lengths)


@dataclass(frozen=True)
class SFT(ChosenObjective):
    """Supervised fine-tuning on the chosen completions, as in arXiv:2203.02155; reward = log-prob per token.

    Trains the policy from which preference optimization starts. As a part of `Weighted`, it holds the likelihood of the
    chosen completions; alone, it computes no rejected one while it trains.
    """

    reads: ClassVar[Reads] = Reads.LIKELIHOOD | Reads.LENGTHS

    def __call__(self, scores: ChosenScores | PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `sft`."""
        return sft(scores.policy_chosen_logps, scores.chosen_lengths)

    def rewards(self, scores: PairScores) -> Rewards:
        """Return the policy's log-prob per token of the chosen and of the rejected completions, each `[P]`, in nats."""
        return logps_per_token(scores)

    def chosen_rewards(self, scores: ChosenScores) -> Float[Tensor, " P"]:
        """Return the policy's log-prob per token of the chosen completions, `[P]`, in nats."""
        return per_token(scores.policy_chosen_logps, scores.chosen_lengths)
