"""Runs of several seeds as points of the frontier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.frontier.catalogue import Entry
from benchmarks.frontier.measure import Estimate, Measurement, estimate
from benchmarks.frontier.protocol import Protocol, Task, key_of_mean
from benchmarks.frontier.store import RunStore


class Point(NamedTuple):
    """An entry, and its means over the seeds with standard errors.

    Attributes:
        entry: What was run.
        seeds: Number of runs.
        reward: True reward of a completion.
        kl: KL divergence from the reference, nats.
        tokens: Length of a completion.
        kept: True for a mean that was kept without its runs.
    """

    entry: Entry
    seeds: int
    reward: Estimate
    kl: Estimate
    tokens: Estimate
    kept: bool = False

    @property
    def name(self) -> str:
        """Name in the table."""
        return self.entry.name

    def gain(self, start: Point) -> Estimate:
        """Return the true reward over that of the starting policy."""
        error = float(np.hypot(self.reward.error, start.reward.error))
        return Estimate(self.reward.mean - start.reward.mean, error)

    def raises_reward(self, start: Point) -> bool:
        """Say whether the true reward is above that of the starting policy by more than two standard errors."""
        gain = self.gain(start)
        return gain.mean > 2 * gain.error


def points(entries: Sequence[Entry], seeds: Sequence[int], protocol: Protocol, store: RunStore) -> list[Point]:
    """Return a point for each entry that was run, in order; what was measured with other settings does not count.

    A mean that was kept stands where not every seed has its run.
    """
    found = []
    for entry in entries:
        tasks = (Task(entry, seed, protocol) for seed in seeds)
        runs = [measurement for task in tasks if (measurement := store.find(task.key()))]
        if len(runs) < len(seeds) and (kept := kept_point(entry, seeds, protocol, store)):
            found.append(kept)
        elif runs:
            found.append(_point(entry, runs))
    return found


def kept_point(entry: Entry, seeds: Sequence[int], protocol: Protocol, store: RunStore) -> Point | None:
    """Return the mean that was kept of an entry's runs with these seeds; None where there is none."""
    mean = store.find(key_of_mean(entry, seeds, protocol))
    return None if mean is None else Point(entry, len(seeds), *mean, kept=True)


def _point(entry: Entry, runs: Sequence[Measurement]) -> Point:
    """Average runs; a single one keeps its own errors."""
    if len(runs) == 1:
        return Point(entry, 1, *runs[0])
    reward, kl, tokens = (estimate([run[field].mean for run in runs]) for field in range(3))
    return Point(entry, len(runs), reward, kl, tokens)


def over_curve(point: Point, curve: Sequence[Point]) -> float | None:
    """Return true reward minus that of a curve at the same KL divergence; None where the curve does not reach."""
    if not curve:
        return None
    along = sorted((each.kl.mean, each.reward.mean) for each in curve)
    kls, rewards = zip(*along, strict=True)
    if not kls[0] <= point.kl.mean <= kls[-1]:
        return None
    return point.reward.mean - float(np.interp(point.kl.mean, kls, rewards))
