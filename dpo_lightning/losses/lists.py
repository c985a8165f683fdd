"""The interface of objectives on lists of completions, and what their losses share."""

from __future__ import annotations

from abc import abstractmethod
from itertools import combinations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dpo_lightning.losses.base import AnyObjective
from dpo_lightning.losses.compares import Compares
from dpo_lightning.losses.scores import ListScores


class ListObjective(AnyObjective):
    """An objective on all completions of a prompt, two or more, as many as each prompt has."""

    compares = Compares.LISTS
    fewest_completions = 2

    @abstractmethod
    def __call__(self, scores: ListScores) -> Float[Tensor, " P"]:
        """Return the loss of each list, unreduced `[P]`."""

    @abstractmethod
    def rewards(self, scores: ListScores) -> Float[Tensor, " C"]:
        """Return the implicit reward of each completion, `[C]`, in the objective's own scale."""


def scored_below(score: Float[Tensor, " C"], example: Int[Tensor, " C"]) -> Bool[Tensor, "C C"]:
    """Return whether completion `j` is in the list of completion `i` with a lower score, at `[i, j]`."""
    return (example[:, None] == example) & (score < score[:, None])


def listed_pairs(scores: ListScores) -> Int[Tensor, "2 M"]:
    """Return the positions of both completions of every pair of each list, the one that stands first in front.

    They are made on the host, which knows how many completions each list has, so that nothing waits for the device.
    """
    order = [
        (example, k)
        for k in range(max(scores.completions))
        for example, count in enumerate(scores.completions)
        if k < count
    ]
    lists: list[list[int]] = [[] for _ in scores.completions]
    for position, (example, _) in enumerate(order):
        lists[example].append(position)
    pairs = [pair for positions in lists for pair in combinations(positions, 2)]
    return torch.tensor(pairs).T.to(scores.example_of_completion.device, non_blocking=True)


def ranks(score: Float[Tensor, " C"], example: Int[Tensor, " C"]) -> Int[Tensor, " C"]:
    """Return the place of each completion in its list's ranking, from 0; of equal scores the first one is ahead."""
    place = torch.arange(len(score), device=score.device)
    as_good = (score == score[:, None]) & (place < place[:, None])
    ahead = (example[:, None] == example) & ((score > score[:, None]) | as_good)
    return ahead.sum(1)
