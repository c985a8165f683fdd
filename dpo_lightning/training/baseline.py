"""Means over the training that a loss reads, such as the reward shift of BCO."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.errors import InputError
from dpo_lightning.losses import AnyObjective, Observation, Reads
from dpo_lightning.losses.scores import Baseline, ListScores, PairScores, UnpairedScores
from dpo_lightning.losses.undeclared import with_inputs
from dpo_lightning.training.metrics import Float32Metric
from dpo_lightning.utils.ranks import sum_over_ranks

S = TypeVar("S", PairScores, UnpairedScores, ListScores)

_LABELS = 2


class RunningMean(Float32Metric):
    """Mean of what an objective observes: of each batch over all ranks, and of the training so far.

    `running = momentum x running + (1 - momentum) x batch`; the first batch sets it. Observations with labels have a
    mean for each label, which moves with the batches that have one, and what counts is the mean of the two. It is a
    metric so that whatever resumes metrics resumes it.
    """

    full_state_update = False
    means: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__(sync_on_compute=False)  # the same on all ranks
        self.add_state("means", torch.zeros(_LABELS, dtype=torch.float32))
        self.add_state("seen", torch.zeros(_LABELS, dtype=torch.float32))

    def added_to(self, scores: S, objective: AnyObjective, *, moves: bool) -> S:
        """Return the scores with the means that the objective reads, or as they are; every rank must call.

        Args:
            scores: Scores of a batch.
            objective: The objective, which says what the means are of.
            moves: True where the batch is one of the training, which moves the running mean.

        Raises:
            InputError: for an objective that reads a mean and observes nothing.
        """
        if Reads.BASELINE not in objective.reads:
            return scores
        observation = with_inputs(objective.observe, scores)
        if observation is None:
            raise InputError(
                f"objective {type(objective).__name__} reads a mean over batches and observes nothing: implement "
                "`observe`, or leave Reads.BASELINE out"
            )
        return scores._replace(baseline=self.baseline(observation, moves=moves))

    def baseline(self, observation: Observation, *, moves: bool) -> Baseline:
        """Return the means of a batch and of the training; every rank must call.

        One reduction of four numbers, and no wait for the device.

        Args:
            observation: Values of this rank's part of the batch.
            moves: Whether the batch is one of the training. Otherwise the running mean is read as it is: without
                momentum, and before the training, it is that of the batch.
        """
        sums, counts = sum_over_ranks(_totals(observation))
        present = (counts > 0).float()
        batch = sums / counts.clamp(min=1)
        if moves:
            self.update(batch, present, observation.momentum)
        known = self.seen if moves or observation.momentum else torch.zeros_like(self.seen)
        own = _mean(batch, present)
        return Baseline(own, torch.where(known.sum() > 0, _mean(self.means, known), own))

    def update(self, batch: Float[Tensor, " L"], present: Float[Tensor, " L"], momentum: float) -> None:
        """Move the mean of each label that the batch has; `present` is 1 there, and 0 elsewhere."""
        weight = present * torch.where(self.seen > 0, 1 - momentum, 1.0)
        self.means = torch.where(present > 0, self.means + weight * (batch - self.means), self.means)
        self.seen = torch.maximum(self.seen, present)

    def compute(self) -> Float[Tensor, ""]:
        """Return the running mean, as every metric must be able to; 0 before the first batch."""
        return _mean(self.means, self.seen)

    def saved(self) -> dict[str, Any]:
        """Return the state that a checkpoint keeps, on the CPU."""
        return {"means": self.means.detach().cpu(), "seen": self.seen.detach().cpu()}

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from a saved state; from the beginning where nothing was saved."""
        self.reset()
        for name, value in saved.items():
            setattr(self, name, value.to(self.device))


def _totals(observation: Observation) -> Float[Tensor, "2 L"]:
    """Return sum and number of the values of each label; without labels, all are of the first."""
    values = observation.values.detach().float()
    is_first = torch.ones_like(values) if observation.desirable is None else observation.desirable.float()
    member = torch.stack([is_first, 1 - is_first])
    if observation.counted is not None:
        member = member * observation.counted
    return torch.stack([torch.where(member > 0, values, 0).sum(-1), member.sum(-1)])


def _mean(values: Float[Tensor, " L"], counted: Float[Tensor, " L"]) -> Float[Tensor, ""]:
    return (values * counted).sum() / counted.sum().clamp(min=1)
