"""Runs of several seeds as points of the frontier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dpo_lightning.lab.catalogue import Entry
from dpo_lightning.lab.frontier.protocol import Protocol, Task
from dpo_lightning.lab.frontier.store import RunStore
from dpo_lightning.lab.measure import Estimate, Measurement, estimate


class Point(NamedTuple):
    """An entry, and its means over the seeds with standard errors."""

    entry: Entry
    seeds: int
    reward: Estimate
    kl: Estimate
    tokens: Estimate

    @property
    def name(self) -> str:
        """As the table calls it."""
        return self.entry.name

    def gain(self, start: Point) -> Estimate:
        """True reward over that of the starting policy."""
        error = float(np.hypot(self.reward.error, start.reward.error))
        return Estimate(self.reward.mean - start.reward.mean, error)

    def raises_reward(self, start: Point) -> bool:
        """Whether the true reward is above that of the starting policy by more than two standard errors."""
        gain = self.gain(start)
        return gain.mean > 2 * gain.error


def points(entries: Sequence[Entry], seeds: Sequence[int], protocol: Protocol, store: RunStore) -> list[Point]:
    """A point for each entry that was run, in their order; what was measured with other settings does not count."""
    found = []
    for entry in entries:
        tasks = (Task(entry, seed, protocol) for seed in seeds)
        runs = [measurement for task in tasks if (measurement := store.find(task.key()))]
        if runs:
            found.append(_point(entry, runs))
    return found


def _point(entry: Entry, runs: Sequence[Measurement]) -> Point:
    """Of a single run, its own errors."""
    if len(runs) == 1:
        return Point(entry, 1, *runs[0])
    return Point(entry, len(runs), *(estimate([run[field].mean for run in runs]) for field in range(3)))


def over_curve(point: Point, curve: Sequence[Point]) -> float | None:
    """True reward of a point minus that of a curve at the same KL divergence; None where the curve does not reach."""
    if not curve:
        return None
    along = sorted((each.kl.mean, each.reward.mean) for each in curve)
    kls, rewards = zip(*along, strict=True)
    if not kls[0] <= point.kl.mean <= kls[-1]:
        return None
    return point.reward.mean - float(np.interp(point.kl.mean, kls, rewards))
