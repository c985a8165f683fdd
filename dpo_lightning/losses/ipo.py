"""Identity Preference Optimization."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from dpo_lightning.losses.base import MarginObjective, Reads, Rewards, logratios, logratios_per_token
from dpo_lightning.losses.precision import margin
from dpo_lightning.losses.scores import PairScores
from dpo_lightning.utils.settings import POSITIVE, require


def ipo(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    *,
    tau: float,
) -> Float[Tensor, " P"]:
    r"""Identity Preference Optimization, arXiv:2310.12036 equation 17.

    .. math:: L = \left(\Delta - \frac{1}{2\tau}\right)^2

    The margin is pulled to `1 / (2 tau)` instead of growing without bound, so the policy stays near the reference
    also where every label agrees. With summed log-ratios this is the paper's equation; some trainers pass per-token
    means instead.

    Args:
        chosen_logratio: `[P]`, nats, or nats per token.
        rejected_logratio: `[P]`, same unit.
        tau: Regularisation, > 0, in the inverse of the log-ratios' unit.

    Returns:
        `[P]`; `1 / (4 tau^2)` where the two log-ratios are equal.
    """
    return (margin(chosen_logratio, rejected_logratio) - 1 / (2 * tau)).square()


@dataclass(frozen=True)
class IPO(MarginObjective):
    """Identity Preference Optimization, arXiv:2310.12036; reward = tau x log-ratio.

    Use it for labels that all agree, where DPO's margin grows without bound: here the margin has a target.

    Args:
        tau: Regularisation, > 0: the margin is pulled to 1 / (2 tau). The paper uses 0.1 to 1.
        per_token: Read mean log-ratios per completion token instead of the paper's sums over the completion.
    """

    tau: float = 0.1
    per_token: bool = False

    def __post_init__(self) -> None:
        require(self, tau=POSITIVE)

    @property
    def reads(self) -> Reads:
        """The reference, and the lengths if log-ratios are taken per token."""
        return Reads.REFERENCE | Reads.LENGTHS if self.per_token else Reads.REFERENCE

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `ipo`."""
        return ipo(*self._logratios(scores), tau=self.tau)

    def rewards(self, scores: PairScores) -> Rewards:
        """Return tau x the log-ratio that the loss reads, each `[P]`."""
        chosen, rejected = self._logratios(scores)
        return self.tau * chosen, self.tau * rejected

    def _logratios(self, scores: PairScores) -> Rewards:
        return logratios_per_token(scores) if self.per_token else logratios(scores)
