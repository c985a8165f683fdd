"""Rules on the curves of whole runs in the lab, as `benchmarks.health` has recorded them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from dpo_lightning.report.health import Curves, Watched, hints
from dpo_lightning.report.verdict import BROKEN_SHARE, FAR_SHARE

RECORDED = Path(__file__).parents[3] / "benchmarks" / "results" / "health.jsonl"
RUNS = [json.loads(line) for line in RECORDED.read_text(encoding="utf-8").splitlines()]
# It gives up unlikely completions: its loss is an exponential of their log-prob, whose gradient vanishes there.
FALLS = {"SimPER"}


def said(run: dict[str, Any]) -> list[str]:
    """Names of the hints that the run gives, asked for at every log."""
    by_step: dict[int, dict[str, float]] = {}
    for name, points in run["curves"].items():
        for step, value in points:
            by_step.setdefault(step, {})[name] = value
    history, given = Curves(), []
    start = math.log(2) if run["objective"].startswith("DPO(") else None
    for step, values in sorted(by_step.items()):
        history.add(step, values, step * run["examples_per_step"])
        watched = Watched(history, step, max(by_step), start, clips=True)
        given += [hint.name for hint in hints(watched, given)]
    return given


@pytest.mark.parametrize("run", [run for run in RUNS if run["of"] == "frontier"], ids=lambda run: run["name"])
def test_no_objective_of_the_frontier_gives_a_false_hint(run: dict[str, Any]) -> None:
    assert said(run) == (["chosen-falls"] if run["name"] in FALLS else [])


def test_the_whole_frontier_is_recorded() -> None:
    from benchmarks.frontier.catalogue import CATALOGUE

    assert {entry.name for entry in CATALOGUE} == {run["name"] for run in RUNS if run["of"] == "frontier"}


@pytest.mark.parametrize("run", [run for run in RUNS if run["of"] == "sweep"], ids=lambda run: run["name"])
def test_a_run_whose_text_breaks_is_told_and_one_whose_text_holds_is_not(run: dict[str, Any]) -> None:
    assert ("chosen-falls" in said(run)) is (run["well_formed"] < 0.9)
    assert set(said(run)) <= {"chosen-falls", "loss-stuck"}


@pytest.mark.parametrize(
    ("low", "high", "least", "most"),
    [(-math.inf, 0.5, 0.0, 0.14), (FAR_SHARE, BROKEN_SHARE, 0.12, 0.44), (BROKEN_SHARE, math.inf, 0.15, 1.0)],
)
def test_the_limits_of_the_verdict_are_what_was_measured(low: float, high: float, least: float, most: float) -> None:
    malformed = [1 - run["well_formed"] for run in RUNS if low <= run["share_lost"] < high and run["name"] not in FALLS]
    assert len(malformed) >= 6
    assert least <= min(malformed)
    assert max(malformed) <= most
