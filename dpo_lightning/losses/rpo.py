"""DPO with a negative log-likelihood term."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from dpo_lightning.losses.base import Objective, Reads, Rewards, scaled_logratios
from dpo_lightning.losses.dpo import dpo
from dpo_lightning.losses.numeric import require_not_negative, require_positive
from dpo_lightning.losses.scores import PairScores
from dpo_lightning.losses.sft import sft


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

    with :math:`\Delta` the chosen minus the rejected log-ratio: the likelihood of the chosen completions holds
    while the margin grows. The length is that of the whole completion: the paper's chain of thought and answer.

    Args:
        chosen_logratio: ``[P]``, nats.
        rejected_logratio: ``[P]``, nats.
        chosen_logps: ``[P]``, summed nats of the policy.
        chosen_lengths: ``[P]``, tokens, > 0.
        beta: Strength of the pull towards the reference, > 0.
        alpha: Weight of the likelihood against the DPO term, >= 0; 0 is DPO.

    Returns:
        ``[P]``.
    """
    return dpo(chosen_logratio, rejected_logratio, beta=beta) + alpha * sft(chosen_logps, chosen_lengths)


@dataclass(frozen=True)
class RPO(Objective):
    """Iterative reasoning preference optimization (RPO, DPO + NLL), arXiv:2404.19733; reward = beta x log-ratio.

    For reasoning: pairs of right and wrong chains of thought, where DPO alone lowers the right ones' likelihood too.

    Args:
        beta: Strength of the pull towards the reference, > 0; the paper uses 0.1.
        alpha: Weight of the likelihood against the DPO term, >= 0; the paper uses 1. (Its first version had it on the
            other term.)
    """

    beta: float = 0.1
    alpha: float = 1.0
    reads: ClassVar[Reads] = Reads.REFERENCE | Reads.LIKELIHOOD | Reads.LENGTHS

    def __post_init__(self) -> None:
        require_positive("RPO.beta", self.beta)
        require_not_negative("RPO.alpha", self.alpha)

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """See :func:`rpo`."""
        return rpo(
            scores.chosen_logratio,
            scores.rejected_logratio,
            scores.policy_chosen_logps,
            scores.chosen_lengths,
            beta=self.beta,
            alpha=self.alpha,
        )

    def rewards(self, scores: PairScores) -> Rewards:
        """Beta x log-ratio."""
        return scaled_logratios(scores, self.beta)
