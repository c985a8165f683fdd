"""DPO under the Plackett-Luce model of whole rankings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dpo_lightning.losses.base import Reads, column_of
from dpo_lightning.losses.lists import ListObjective, scored_below
from dpo_lightning.losses.precision import at_least_float32, require_one_shape
from dpo_lightning.losses.scores import ListScores
from dpo_lightning.utils.settings import POSITIVE, require


def plackett_luce_dpo(
    logratio: Float[Tensor, " C"],
    score: Float[Tensor, " C"],
    example: Int[Tensor, " C"],
    *,
    examples: int,
    beta: float,
) -> Float[Tensor, " P"]:
    r"""DPO under the Plackett-Luce model, arXiv:2305.18290 appendix A.3, equation 20.

    .. math:: L = -\log \prod_{k=1}^{K} \frac{\exp(\beta\rho_{\tau(k)})}{\sum_{j=k}^{K} \exp(\beta\rho_{\tau(j)})}

    with `rho` the log-ratios and `tau` the ranking by scores, the best first. Each completion is the first choice among
    itself and those with lower scores; so completions with the same score are not compared with each other.

    Args:
        logratio: `[C]`, nats.
        score: `[C]`, the higher the better.
        example: `[C]`, the list of each completion, from 0.
        examples: Number of lists `P`.
        beta: Strength of the pull towards the reference, > 0.

    Returns:
        `[P]`; log K! where the log-ratios of K completions with different scores are equal. Memory goes with the square
        of the completions of a batch.
    """
    require_one_shape(logratio, score, example)
    rewards = beta * at_least_float32(logratio)
    itself = torch.eye(len(rewards), dtype=torch.bool, device=rewards.device)
    # Of differences, which keep the digits that a sum of large rewards would round away.
    above = (rewards - rewards[:, None]).masked_fill(~(scored_below(score, example) | itself), -torch.inf)
    return rewards.new_zeros(examples).index_add(0, example, above.logsumexp(1))


@dataclass(frozen=True)
class PlackettLuceDPO(ListObjective):
    """DPO under the Plackett-Luce model of rankings, arXiv:2305.18290 appendix A.3; reward = beta x log-ratio.

    Learns from a whole ranking of K completions at once, which may differ in length from prompt to prompt; of two it is
    DPO. Only the order of the scores counts.

    Args:
        beta: Strength of the pull towards the reference, > 0; the paper uses 0.1 to 0.5.

    Example:
        >>> import torch
        >>> from dpo_lightning.losses import PlackettLuceDPO
        >>> from dpo_lightning.losses.scores import ListScores
        >>> scores = ListScores(
        ...     policy_logps=torch.tensor([-10.0, -10.0, -10.0]),
        ...     reference_logps=torch.tensor([-10.0, -10.0, -10.0]),
        ...     lengths=torch.tensor([4, 5, 3]),
        ...     example_of_completion=torch.tensor([0, 0, 0]),
        ...     completions=(3,),
        ...     columns={"score": torch.tensor([0.1, 0.9, 0.4])},
        ... )
        >>> PlackettLuceDPO()(scores)  # log 3!
        tensor([1.7918])
    """

    beta: float = 0.1
    reads: ClassVar[Reads] = Reads.REFERENCE | Reads.SCORE
    scales_with_beta: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self, beta=POSITIVE)

    def __call__(self, scores: ListScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `plackett_luce_dpo`."""
        return plackett_luce_dpo(
            scores.logratio,
            column_of(scores, "score"),
            scores.example_of_completion,
            examples=len(scores.completions),
            beta=self.beta,
        )

    def rewards(self, scores: ListScores) -> Float[Tensor, " C"]:
        """Return beta x log-ratio, `[C]`."""
        return self.beta * scores.logratio
