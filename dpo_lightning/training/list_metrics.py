"""Metrics of lists of completions, and the torchmetric that averages them over batches and ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias, Union

import torch
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.compat.torchmetrics import Float32Metric
from dpo_lightning.losses.lists import scored_below
from dpo_lightning.losses.precision import per_token
from dpo_lightning.losses.scores import ListScores
from dpo_lightning.training.divergence import divergence
from dpo_lightning.training.metrics import ChosenMean, PairMean, UnpairedMean, counted_means, is_greater

_BEST, _WORST, _MARGINS = "rewards/chosen", "rewards/rejected", "rewards/margins"
_FIRST = "rewards/best_of_list"
_ACCURACIES = ("rewards/accuracies", "logps/accuracies", "logps/accuracies_per_token")
_OF_SIDES = ("rewards", "logps", "logratios", "lengths")

NAMES = (
    "loss",
    *_ACCURACIES,
    _FIRST,
    _MARGINS,
    "kl",
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
    reward, and half where both have the same; the accuracies of `logps` ask the same of the log-probs, and of those per
    token. `rewards/best_of_list` is the share of those with a highest score among the completions with the greatest
    reward, of which there mostly is one. `kl` is the `divergence` of all completions. A list of equal scores has a loss
    and `kl` alone, and so has any list without a ranking.

    Args:
        scores: Scores of the lists.
        rewards: `[C]`, in the objective's scale.
        losses: `[P]`.
        ranking: `[C]`, the higher the better; None where the data has none.
        has_reference: Whether there are log-ratios.
    """
    found = {"loss": torch.stack([losses, torch.ones_like(losses)])}
    if has_reference and scores.tokens is not None:
        each = divergence(scores.tokens)
        found["kl"] = torch.stack([scores.sum_per_list(each), scores.sum_per_list(torch.ones_like(each))])
    if ranking is None:
        return {name: value.detach() for name, value in found.items()}
    highest, lowest = (_extreme(scores, ranking, how) for how in ("amax", "amin"))
    is_ranked = (highest > lowest).to(losses.dtype)
    values = {
        "rewards": rewards,
        "logps": scores.policy_logps,
        "logratios": scores.logratio,
        "lengths": scores.lengths.to(losses.dtype),
    }
    if not has_reference:
        del values["logratios"]
    for side, extreme in (("chosen", highest), ("rejected", lowest)):
        members = (ranking == extreme[scores.example_of_completion]).to(losses.dtype)
        for name, value in values.items():
            mean = scores.sum_per_list(torch.where(members > 0, value, 0)) / scores.sum_per_list(members)
            found[f"{name}/{side}"] = torch.stack([mean * is_ranked, is_ranked])
    found[_MARGINS] = torch.stack([found[_BEST][0] - found[_WORST][0], is_ranked])
    compared = (rewards, scores.policy_logps, per_token(scores.policy_logps, scores.lengths))
    found |= dict(zip(_ACCURACIES, _accuracies(scores, ranking, compared), strict=True))
    greatest = (_extreme(scores, rewards, "amax")[scores.example_of_completion] == rewards).to(losses.dtype)
    best = greatest * (ranking == highest[scores.example_of_completion])
    share = scores.sum_per_list(best) / scores.sum_per_list(greatest)
    found[_FIRST] = torch.stack([share * is_ranked, is_ranked])
    return {name: value.detach() for name, value in found.items()}


def _accuracies(
    scores: ListScores, ranking: Float[Tensor, " C"], compared: Sequence[Float[Tensor, " C"]]
) -> Iterator[Float[Tensor, "2 P"]]:
    """Yield for each of the values the pairs of a list that they order as the ranking does, and how many there are."""
    below = scored_below(ranking, scores.example_of_completion)
    pairs = scores.sum_per_list(below.sum(1).to(ranking.dtype))
    for values in compared:
        right = torch.where(below, is_greater(values[:, None], values), 0).sum(1)
        yield torch.stack([scores.sum_per_list(right), pairs])


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
