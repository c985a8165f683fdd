"""DPO with a negative log-likelihood term."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from dpo_lightning.losses.base import Reads, logratios
from dpo_lightning.losses.beta import BetaObjective
from dpo_lightning.losses.dpo import dpo
from dpo_lightning.losses.scores import PairScores
from dpo_lightning.losses.sft import sft
from dpo_lightning.utils.settings import NOT_NEGATIVE, POSITIVE, require


def rpo(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    chosen_logps: Float[Tensor, " P"],
    chosen_lengths: Int[Tensor, " P"],
    *,
    beta: float,
    alpha: float,
) -> Float[Tensor, " P"]:
    r"""Iterative reasoning preference optimization (RPO, DPO + NLL), arXiv:2404.19733.

    .. math:: L = -\log\sigma(\beta\Delta) - \frac{\alpha}{|y_w|}\log\pi(y_w|x)

    with `Delta` the chosen minus the rejected log-ratio. The second term holds the likelihood of the chosen completions
    while the margin grows. The length is that of the whole completion, the paper's chain of thought and answer.

    Args:
        chosen_logratio: `[P]`, nats.
        rejected_logratio: `[P]`, nats.
        chosen_logps: `[P]`, summed nats of the policy.
        chosen_lengths: `[P]`, tokens, > 0.
        beta: Strength of the pull towards the reference, > 0.
        alpha: Weight of the likelihood against the DPO term, >= 0; 0 is DPO.

    Returns:
        `[P]`; ln 2 plus alpha x the chosen completion's nats per token where the two log-ratios are equal.
    """
    return dpo(chosen_logratio, rejected_logratio, beta=beta) + alpha * sft(chosen_logps, chosen_lengths)


@dataclass(frozen=True)
class RPO(BetaObjective):
    """Iterative reasoning preference optimization (RPO, DPO + NLL), arXiv:2404.19733; reward = beta x log-ratio.

    Use it for right and wrong chains of thought, where DPO alone lowers the likelihood of the right ones as well.

    Args:
        beta: Strength of the pull towards the reference, > 0; the paper uses 0.1.
        alpha: Weight of the likelihood against the DPO term, >= 0; the paper uses 1. (Its first version had it on the
            other term.)
    """

    beta: float = 0.1
    alpha: float = 1.0
    reads: ClassVar[Reads] = Reads.REFERENCE | Reads.LIKELIHOOD | Reads.LENGTHS

    def __post_init__(self) -> None:
        require(self, beta=POSITIVE, alpha=NOT_NEGATIVE)

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `rpo`."""
        return rpo(
            *logratios(scores), scores.policy_chosen_logps, scores.chosen_lengths, beta=self.beta, alpha=self.alpha
        )
