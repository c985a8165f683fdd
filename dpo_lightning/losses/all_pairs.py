"""Objectives of pairs on all pairs of a list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dpo_lightning.errors import InputError
from dpo_lightning.losses.base import AnyObjective, Observation, Reads, column_of
from dpo_lightning.losses.lists import ListObjective, listed_pairs
from dpo_lightning.losses.precision import require_one_shape
from dpo_lightning.losses.scores import ListScores, PairScores
from dpo_lightning.losses.wrapped import loss_of, require_own_losses

_UNKNOWN = Reads.TOKENS | Reads.COLLISIONS | Reads.PROBABILITY


@dataclass(frozen=True)
class AllPairs(ListObjective):
    r"""An objective of pairs on all pairs of a list, after arXiv:2203.02155 equation 1; reward = the objective's.

    Takes the mean of the objective's loss over the pairs of a list whose scores differ, or with `weighted` that of
    score difference x loss: a pair that the scores hardly tell apart then hardly counts. The completion with the higher
    score is the chosen one, and the difference is the pair's margin for an objective that reads one. The tree computes
    each completion once, however many pairs it is in.

    .. math:: L = \frac{1}{|\{s_i > s_j\}|} \sum_{s_i > s_j} w_{ij}\, L(y_i, y_j), \quad
        w_{ij} = 1 \text{ or } s_i - s_j

    Args:
        objective: An objective of pairs with a loss for each by itself, such as DPO, `PerToken(DPO(beta=5.0))`, or
            BetaDPO, whose beta then follows the mean margin of all pairs.
        weighted: Multiply each pair's loss by the difference of its scores. Its scale then is that of the scores, and
            the learning rate's with it.
    """

    objective: AnyObjective
    weighted: bool = False

    def __post_init__(self) -> None:
        require_own_losses("AllPairs.objective", self.objective)
        if unknown := self.objective.reads & _UNKNOWN:
            names = ", ".join(flag.name.lower() for flag in Reads if flag in unknown and flag.name)
            raise InputError(
                f"AllPairs.objective: {type(self.objective).__name__} reads what a pair of a list does not have "
                f"({names}): take another objective, such as DPO"
            )

    @property
    def reads(self) -> Reads:
        """The scores that the objective reads, and those of the data; the margin is made of them."""
        return (self.objective.reads & ~Reads.MARGIN) | Reads.SCORE

    @property
    def reads_columns(self) -> frozenset[str]:
        """The columns that the objective reads, and the scores."""
        return (self.objective.reads_columns - {"margin"}) | self.reads.columns

    @property
    def scales_with_beta(self) -> bool:
        """True where the objective's loss reads log-ratios only times its beta."""
        return self.objective.scales_with_beta

    def __call__(self, scores: ListScores) -> Float[Tensor, " P"]:
        """Return the mean over the pairs of each list, `[P]`; 0 for a list without a pair whose scores differ."""
        pairs, untied, example = _pairs_of(scores)
        losses = loss_of(self.objective, pairs)
        weights = pairs.columns["margin"] if self.weighted else untied
        require_one_shape(losses, weights)
        nothing = losses.new_zeros(len(scores.completions))
        counted = nothing.index_add(0, example, untied.to(losses.dtype))
        return nothing.index_add(0, example, weights.to(losses.dtype) * losses) / counted.clamp(min=1)

    def rewards(self, scores: ListScores) -> Float[Tensor, " C"]:
        """Return the reward that the objective gives each completion as the chosen one, `[C]`."""
        own = torch.arange(len(scores.policy_logps), device=scores.policy_logps.device)
        inner: Any = self.objective
        return inner.rewards(_paired(scores, own, own, scores.example_of_completion))[0]

    def observe(self, scores: ListScores) -> Observation | None:
        """Return the objective's observation of all pairs; those with equal scores do not count."""
        pairs, untied, _ = _pairs_of(scores)
        seen = self.objective.observe(pairs)
        if seen is None:
            return None
        return seen._replace(counted=untied.repeat(len(seen.values) // len(untied)))


class _Pairs(NamedTuple):
    scores: PairScores
    untied: Bool[Tensor, " M"]
    example: Int[Tensor, " M"]


def _pairs_of(scores: ListScores) -> _Pairs:
    """Pair the completions of each list, the one with the higher score first; of equal ones the order means nothing."""
    score = column_of(scores, "score")
    first, second = listed_pairs(scores)
    swapped = score[first] < score[second]
    chosen, rejected = torch.where(swapped, second, first), torch.where(swapped, first, second)
    example = scores.example_of_completion[first]
    return _Pairs(_paired(scores, chosen, rejected, example), score[chosen] > score[rejected], example)


def _paired(
    scores: ListScores, chosen: Int[Tensor, " M"], rejected: Int[Tensor, " M"], example: Int[Tensor, " M"]
) -> PairScores:
    completions = len(scores.policy_logps)
    columns = {
        name: torch.stack([values[chosen], values[rejected]]) if len(values) == completions else values[example]
        for name, values in scores.columns.items()
    }
    if "score" in columns:
        columns["margin"] = columns["score"][0] - columns["score"][1]
    return PairScores(
        scores.policy_logps[chosen],
        scores.policy_logps[rejected],
        scores.reference_logps[chosen],
        scores.reference_logps[rejected],
        scores.lengths[chosen],
        scores.lengths[rejected],
        columns,
        baseline=scores.baseline,
    )
