"""What the runs show: a curve for each arm, and how far it lies over another at the same KL divergence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.frontier import Protocol, RunStore
from benchmarks.frontier.measure import Estimate, Measurement, estimate
from benchmarks.rounds.arms import Arm, Stage


class Point(NamedTuple):
    """An arm, and its measurement of each seed.

    Attributes:
        arm: What was run.
        runs: One for each seed.
    """

    arm: Arm
    runs: Sequence[Measurement]

    @property
    def reward(self) -> Estimate:
        """True reward of a completion, over the seeds."""
        return estimate([run.reward.mean for run in self.runs])

    @property
    def kl(self) -> Estimate:
        """KL divergence from the first policy, nats, over the seeds."""
        return estimate([run.kl.mean for run in self.runs])

    @property
    def tokens(self) -> Estimate:
        """Length of a completion, over the seeds."""
        return estimate([run.tokens.mean for run in self.runs])


Curve = Sequence[Point]
"""Points of one arm, by beta."""


def point_of(arm: Arm, done: int, seeds: Sequence[int], protocol: Protocol, store: RunStore) -> Point | None:
    """Return what an arm was worth after so many rounds; None before each seed was run."""
    found = [store.find(Stage(arm, seed, done, protocol).key()) for seed in seeds]
    runs = [run for run in found if run is not None]
    return Point(arm, runs) if len(runs) == len(seeds) else None


def over(point: Point, curve: Curve) -> Estimate | None:
    """Return the true reward over the best of a curve at no more KL divergence, seed by seed.

    A seed's run is compared with the runs of the same seed, so that the error holds those of both, in reward and in KL
    divergence. The best is the line through the rewards in the order of KL divergence, none below one before it: more
    divergence than is needed is no merit. Behind its end it goes on level.

    Args:
        point: The point.
        curve: Points with the same seeds.

    Returns:
        The mean over the seeds with its standard error; None where all of the curve has more KL divergence.
    """
    values = []
    for number, run in enumerate(point.runs):
        along = sorted((other.runs[number].kl.mean, other.runs[number].reward.mean) for other in curve)
        kls, rewards = zip(*along, strict=True)
        if run.kl.mean < kls[0]:
            return None
        values.append(run.reward.mean - float(np.interp(run.kl.mean, kls, np.maximum.accumulate(rewards))))
    return estimate(values)


def is_clear(difference: Estimate | None) -> bool:
    """Say whether a difference is above 0 by more than two standard errors."""
    return difference is not None and difference.mean > 2 * difference.error
