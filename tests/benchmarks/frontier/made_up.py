"""Runs with made-up results, for what does not depend on training."""

from __future__ import annotations

from pathlib import Path

from benchmarks.frontier import Frontier, Protocol, RunStore, Task
from benchmarks.frontier.catalogue import CATALOGUE, START, Entry
from benchmarks.frontier.measure import Estimate, Measurement
from benchmarks.frontier.points import Point
from benchmarks.frontier.protocol import Run
from dpo_lightning.losses import DPO

PROTOCOL = Protocol(pairs=8, prompts=2)


def entry(name: str = "DPO", beta: float = 1.0, family: str = "logistic") -> Entry:
    return Entry(name, family, DPO(beta))


def measured(reward: float, kl: float, tokens: float = 30.0) -> Measurement:
    return Measurement(Estimate(reward, 0.1), Estimate(kl, 0.2), Estimate(tokens, 0.3))


def run(of: Entry, seed: int, reward: float, kl: float, protocol: Protocol = PROTOCOL) -> Run:
    return Run(Task(of, seed, protocol), measured(reward, kl), 1.5)


def store(path: Path, *runs: Run) -> RunStore:
    made = RunStore(path)
    for each in runs:
        made.add(each)
    return made


def point(name: str, reward: float, kl: float, error: float = 0.01, family: str = "logistic") -> Point:
    return Point(entry(name, family=family), 3, Estimate(reward, error), Estimate(kl, error), Estimate(30.0, error))


def crowded() -> Frontier:
    """Every entry of the catalogue, most of them near one another, and two curves."""
    entries = [
        point(each.name, 3 - 0.02 * (number % 7), 3 + 0.03 * (number % 5), family=each.family)
        for number, each in enumerate(CATALOGUE)
    ]
    curves = {
        name: [point(name, reward + shift, kl) for reward, kl in ((1.0, 0.5), (3.0, 3.0), (2.0, 8.0))]
        for name, shift in (("DPO", 0.0), ("IPO", -0.3))
    }
    start = Point(START, 3, Estimate(-1.0, 0.05), Estimate(0.0, 0.0), Estimate(30.0, 0.1))
    return Frontier(start, entries, curves)
