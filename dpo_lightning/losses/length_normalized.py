"""Length-normalised DPO, on log-ratios per token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from dpo_lightning.losses.base import MarginObjective, Reads, Rewards, logratios, logratios_per_token
from dpo_lightning.losses.dpo import dpo
from dpo_lightning.losses.precision import per_token
from dpo_lightning.losses.scores import PairScores
from dpo_lightning.utils.settings import POSITIVE, require


def length_normalized_dpo(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    chosen_lengths: Int[Tensor, " P"],
    rejected_lengths: Int[Tensor, " P"],
    *,
    beta: float,
) -> Float[Tensor, " P"]:
    r"""Length-normalised DPO, arXiv:2411.15124 (Tulu 3); `dpo_norm` in open-instruct.

    .. math:: L = -\log\sigma\left(\frac{\beta}{|y_w|}\rho_w - \frac{\beta}{|y_l|}\rho_l\right)

    with `rho` the log-ratios. A long completion does not outweigh a short one by its length alone.

    Args:
        chosen_logratio: `[P]`, nats.
        rejected_logratio: `[P]`, nats.
        chosen_lengths: `[P]`, tokens, > 0.
        rejected_lengths: `[P]`, tokens, > 0.
        beta: Strength of the pull towards the reference, > 0, per token: 10 to 100 times DPO's.

    Returns:
        `[P]`; ln 2 where the two log-ratios per token are equal.
    """
    return dpo(per_token(chosen_logratio, chosen_lengths), per_token(rejected_logratio, rejected_lengths), beta=beta)


@dataclass(frozen=True)
class LengthNormalizedDPO(MarginObjective):
    """Length-normalised DPO, arXiv:2411.15124 (Tulu 3); reward = beta x log-ratio per token.

    Use it where lengths differ much and the answers must not grow; Tulu 3 chose it over DPO, SimPO and PPO.

    Args:
        beta: Strength of the pull towards the reference, > 0, on nats per token; Tulu 3 uses 5.
    """

    beta: float = 5.0
    reads: ClassVar[Reads] = Reads.REFERENCE | Reads.LENGTHS

    def __post_init__(self) -> None:
        require(self, beta=POSITIVE)

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `length_normalized_dpo`."""
        return length_normalized_dpo(*logratios(scores), scores.chosen_lengths, scores.rejected_lengths, beta=self.beta)

    def rewards(self, scores: PairScores) -> Rewards:
        """Return beta x log-ratio per token of the chosen and of the rejected completions, each `[P]`."""
        chosen, rejected = logratios_per_token(scores)
        return self.beta * chosen, self.beta * rejected
