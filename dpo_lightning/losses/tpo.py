"""Triple Preference Optimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from dpo_lightning.errors import InputError
from dpo_lightning.losses.base import Reads, column_of
from dpo_lightning.losses.lists import ListObjective, ranks
from dpo_lightning.losses.precision import margin, per_token, require_one_shape
from dpo_lightning.losses.scores import ListScores
from dpo_lightning.utils.settings import NOT_NEGATIVE, POSITIVE, require


def tpo(
    gold_logps: Float[Tensor, " P"],
    chosen_logps: Float[Tensor, " P"],
    rejected_logps: Float[Tensor, " P"],
    gold_lengths: Int[Tensor, " P"],
    *,
    beta: float,
    nll_weight: float,
    gamma: float = 0.0,
) -> Float[Tensor, " P"]:
    r"""Triple Preference Optimization (TPO), arXiv:2405.16681.

    .. math:: L = -\log\sigma\big(\beta\log\pi(y_w|x) - \beta\log\pi(y_l|x) - \gamma\big)
        - \frac{\alpha}{|y_g|} \log\pi(y_g|x)

    with `y_g` the gold completion, which is imitated, while the other two are compared. There is no reference.

    Args:
        gold_logps: `[P]`, summed nats of the policy.
        chosen_logps: `[P]`, nats.
        rejected_logps: `[P]`, nats.
        gold_lengths: `[P]`, tokens, > 0.
        beta: Scale of the reward, > 0.
        nll_weight: The equation's alpha, >= 0: weight of the negative log-likelihood of a gold token.
        gamma: Target margin of the rewards, >= 0.

    Returns:
        `[P]`.
    """
    require_one_shape(gold_logps, chosen_logps)
    distance = beta * margin(chosen_logps, rejected_logps) - gamma
    return -F.logsigmoid(distance) - nll_weight * per_token(gold_logps, gold_lengths)


@dataclass(frozen=True)
class TPO(ListObjective):
    """Triple Preference Optimization (TPO), arXiv:2405.16681; reward = beta x log-prob.

    Needs no reference. Of the completions of a prompt, three or more, the one with the highest score is the gold one,
    the second is preferred over the last; of equal scores the one that comes first in the data counts as the higher.
    The paper's TPO-L is that with `length_normalized` and a `gamma`.

    Args:
        beta: Scale of the reward, > 0; TRL takes 0.01.
        nll_weight: Weight of the negative log-likelihood of a gold token, >= 0.
        gamma: Target margin of the rewards, >= 0.
        length_normalized: Compare log-probs per token; beta is then per token, 100 times larger or so.
    """

    beta: float = 0.01
    nll_weight: float = 1.0
    gamma: float = 0.0
    length_normalized: bool = False
    reads: ClassVar[Reads] = Reads.LIKELIHOOD | Reads.LENGTHS | Reads.SCORE
    fewest_completions = 3

    def __post_init__(self) -> None:
        require(self, beta=POSITIVE, nll_weight=NOT_NEGATIVE, gamma=NOT_NEGATIVE)

    def __call__(self, scores: ListScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `tpo`.

        Raises:
            InputError: for a list of fewer than three completions.
        """
        if min(scores.completions) < self.fewest_completions:
            raise InputError(
                f"objective TPO compares three completions of a prompt or more, and a list has "
                f"{min(scores.completions)}: leave such rows out, or take PlackettLuceDPO"
            )
        rank = ranks(column_of(scores, "score"), scores.example_of_completion)
        last = scores.sum_per_list(torch.ones_like(scores.policy_logps)).long() - 1
        gold, chosen, rejected = rank == 0, rank == 1, rank == last[scores.example_of_completion]

        def of(which: Tensor, values: Tensor) -> Tensor:
            return scores.sum_per_list(torch.where(which, values, 0))

        compared = self._compared(scores)
        imitated, preferred, other = of(gold, scores.policy_logps), of(chosen, compared), of(rejected, compared)
        lengths = of(gold, scores.lengths)
        return tpo(imitated, preferred, other, lengths, beta=self.beta, nll_weight=self.nll_weight, gamma=self.gamma)

    def rewards(self, scores: ListScores) -> Float[Tensor, " C"]:
        """Return beta x log-prob of each completion, `[C]`, per token where it is normalised."""
        return self.beta * self._compared(scores)

    def _compared(self, scores: ListScores) -> Float[Tensor, " C"]:
        return per_token(scores.policy_logps, scores.lengths) if self.length_normalized else scores.policy_logps
