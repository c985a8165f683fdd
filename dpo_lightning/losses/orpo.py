"""Odds Ratio Preference Optimization: likelihood and log-odds ratio, without a reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from dpo_lightning.losses.base import Objective, Reads, Rewards, policy_and_lengths
from dpo_lightning.losses.precision import margin, per_token
from dpo_lightning.losses.scores import PairScores
from dpo_lightning.losses.sft import sft
from dpo_lightning.utils.settings import POSITIVE, require


def orpo(
    chosen_logps: Float[Tensor, " P"],
    rejected_logps: Float[Tensor, " P"],
    chosen_lengths: Int[Tensor, " P"],
    rejected_lengths: Int[Tensor, " P"],
    *,
    odds_weight: float,
) -> Float[Tensor, " P"]:
    r"""Odds Ratio Preference Optimization, arXiv:2403.07691 equations 6 and 7.

    .. math:: L = -\log P(y_w) - \lambda \log\sigma\left(\log\frac{P(y_w)}{1 - P(y_w)}
        - \log\frac{P(y_l)}{1 - P(y_l)}\right), \quad \log P(y) = \frac{1}{|y|}\log\pi(y|x)

    Args:
        chosen_logps: `[P]`, summed nats of the policy.
        rejected_logps: `[P]`, summed nats of the policy.
        chosen_lengths: `[P]`, tokens, > 0.
        rejected_lengths: `[P]`, tokens, > 0.
        odds_weight: Weight `lambda` of the odds ratio, > 0.

    Returns:
        `[P]`, nats; the chosen completion's nats per token plus `lambda` ln 2 where the odds are equal.
    """
    odds = log_odds(chosen_logps, chosen_lengths), log_odds(rejected_logps, rejected_lengths)
    return sft(chosen_logps, chosen_lengths) - odds_weight * F.logsigmoid(margin(*odds))


def log_odds(logps: Float[Tensor, " P"], lengths: Int[Tensor, " P"]) -> Float[Tensor, " P"]:
    """Return log(P / (1 - P)), `[P]`, with log P the log-prob per token, from summed nats and lengths in tokens.

    A likelihood that rounds to 1 is taken as the largest one below 1, and has no gradient.
    """
    mean = per_token(logps, lengths)
    mean = mean.clamp(max=-torch.finfo(mean.dtype).eps)
    # 1 - P is exact where P is near 1, and as exact as log P needs it where P is small.
    return mean - (-torch.expm1(mean)).log()


@dataclass(frozen=True)
class ORPO(Objective):
    """Odds Ratio Preference Optimization, arXiv:2403.07691; reward = log-odds of the likelihood per token.

    Joins supervised fine-tuning and preferences in one stage: it starts from a base model and needs no reference.

    Args:
        odds_weight: Weight of the odds ratio beside the likelihood, > 0 (the paper's lambda); the paper uses 0.1 for
            Mistral, 0.2 for Llama 2 and 0.25 for Phi-2.
    """

    odds_weight: float = 0.1
    reads: ClassVar[Reads] = Reads.LIKELIHOOD | Reads.LENGTHS

    def __post_init__(self) -> None:
        require(self, odds_weight=POSITIVE)

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `orpo`."""
        return orpo(*policy_and_lengths(scores), odds_weight=self.odds_weight)

    def rewards(self, scores: PairScores) -> Rewards:
        """Return the log-odds of the chosen and of the rejected completions, each `[P]`, see `log_odds`."""
        chosen, rejected, chosen_lengths, rejected_lengths = policy_and_lengths(scores)
        return log_odds(chosen, chosen_lengths), log_odds(rejected, rejected_lengths)
