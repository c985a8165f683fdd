"""Metrics of lists of completions, and the torchmetric that averages them over batches and ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, Union

import torch
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.compat.torchmetrics import Float32Metric
from dpo_lightning.losses.lists import scored_below
from dpo_lightning.losses.scores import ListScores
from dpo_lightning.training.metrics import ChosenMean, PairMean, UnpairedMean, counted_means

_BEST, _WORST, _MARGINS = "rewards/chosen", "rewards/rejected", "rewards/margins"
_ACCURACY, _FIRST = "rewards/accuracies", "rewards/best_of_list"
_OF_SIDES = ("rewards", "logps", "logratios")

NAMES = (
    "loss",
    _ACCURACY,
    _FIRST,
    _MARGINS,
    *(f"{name}/{side}" for side in ("chosen", "rejected") for name in _OF_SIDES),
)


def list_metrics(
    scores: ListScores,
    rewards: Float[Tensor, " C"],
    losses: Float[Tensor, " P"],
    ranking: Float[Tensor, " C"] | None,
    *,
    has_reference: bool = True,
) -> dict[str, Float[Tensor, "2 P"]]:
    """Return sum and count of each value in each list, `[2, P]`, detached, on the device; the keys are of `NAMES`.

    `chosen` is the completion with the highest score and `rejected` the one with the lowest, the mean of several with
    the same one. A pair of a list whose scores differ counts as accurate when the better completion has the greater
    reward; `rewards/best_of_list` is whether the completion with the greatest reward is one with the highest score. A
    list of equal scores has a loss alone, and so has any list without a ranking.

    Args:
        scores: Scores of the lists.
        rewards: `[C]`, in the objective's scale.
        losses: `[P]`.
        ranking: `[C]`, the higher the better; None where the data has none.
        has_reference: Whether there are log-ratios.
    """
    found = {"loss": torch.stack([losses, torch.ones_like(losses)])}
    if ranking is None:
        return {name: value.detach() for name, value in found.items()}
    highest, lowest = (_extreme(scores, ranking, how) for how in ("amax", "amin"))
    is_ranked = (highest > lowest).to(losses.dtype)
    values = {"rewards": rewards, "logps": scores.policy_logps, "logratios": scores.logratio}
    if not has_reference:
        del values["logratios"]
    for side, extreme in (("chosen", highest), ("rejected", lowest)):
        members = (ranking == extreme[scores.example_of_completion]).to(losses.dtype)
        for name, value in values.items():
            mean = scores.sum_per_list(torch.where(members > 0, value, 0)) / scores.sum_per_list(members)
            found[f"{name}/{side}"] = torch.stack([mean * is_ranked, is_ranked])
    found[_MARGINS] = torch.stack([found[_BEST][0] - found[_WORST][0], is_ranked])
    below = scored_below(ranking, scores.example_of_completion)
    right = (below & (rewards < rewards[:, None])).sum(1).to(losses.dtype)
    found[_ACCURACY] = torch.stack([scores.sum_per_list(right), scores.sum_per_list(below.sum(1).to(losses.dtype))])
    greatest = _extreme(scores, rewards, "amax")[scores.example_of_completion] == rewards
    among = (ranking == highest[scores.example_of_completion]) | ~greatest
    all_of_them = scores.sum_per_list((~among).to(losses.dtype)) == 0
    found[_FIRST] = torch.stack([all_of_them * is_ranked, is_ranked])
    return {name: value.detach() for name, value in found.items()}


class ListMean(Float32Metric):
    """Means of the values of `list_metrics`, over batches and ranks.

    Each mean has its own count: lists, or pairs for the accuracy. One of which nothing was added is left out.
    """

    full_state_update = False
    names = frozenset(NAMES)
    totals: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("totals", torch.zeros(2, len(NAMES), dtype=torch.float32), dist_reduce_fx="sum")

    def update(self, values: Mapping[str, Float[Tensor, "2 P"]]) -> None:
        """Add the lists of a batch."""
        # Not in place: a reset inside Lightning's inference mode makes a tensor that nothing outside may write to.
        self.totals = self.totals + self.sums(values)

    def compute(self) -> dict[str, Float[Tensor, ""]]:
        """Return the means, 0-d float32 on the device: one wait for the device."""
        return self.means(self.totals)

    def sums(self, values: Mapping[str, Float[Tensor, "2 P"]]) -> Tensor:
        """Return what a batch adds to `totals`."""
        nothing = torch.zeros_like(values["loss"])
        return torch.stack([values.get(name, nothing) for name in NAMES], 1).float().sum(-1)

    def means(self, totals: Tensor) -> dict[str, Float[Tensor, ""]]:
        """Return the means that such sums make."""
        return counted_means(NAMES, totals)


Means: TypeAlias = Union[PairMean, ChosenMean, UnpairedMean, ListMean]
"""The metric of a stage, by what the objective compares."""


def _extreme(scores: ListScores, values: Float[Tensor, " C"], how: str) -> Float[Tensor, " P"]:
    """The greatest or the smallest value of each list."""
    nothing = values.new_zeros(len(scores.completions))
    return nothing.scatter_reduce(0, scores.example_of_completion, values, how, include_self=False)
