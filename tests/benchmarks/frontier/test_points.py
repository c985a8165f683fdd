"""Means over seeds, the distance from a curve, the table, by hand."""

from __future__ import annotations

import math

import pytest

from benchmarks.frontier import HEADER, Frontier
from benchmarks.frontier.catalogue import START
from benchmarks.frontier.measure import Estimate
from benchmarks.frontier.points import over_curve, points
from tests.benchmarks.frontier.made_up import PROTOCOL, crowded, entry, point, run, store


def test_a_point_is_the_mean_over_seeds(tmp_path):
    runs = [run(entry(), seed, reward, kl) for seed, (reward, kl) in enumerate([(1.0, 2.0), (2.0, 4.0), (6.0, 9.0)])]
    other = run(entry(beta=9.0), 0, 100.0, 100.0)
    made = store(tmp_path / "runs.jsonl", *runs, other)
    (found,) = points([entry(), entry("absent", beta=3.0)], range(3), PROTOCOL, made)
    assert found.seeds == 3
    assert found.reward == pytest.approx((3.0, math.sqrt(7 / 3)))
    assert found.kl == pytest.approx((5.0, math.sqrt(13 / 3)))
    (fewer,) = points([entry()], range(2), PROTOCOL, made)
    assert fewer.reward == pytest.approx((1.5, 0.5))


def test_a_single_seed_has_the_errors_of_its_samples(tmp_path):
    made = store(tmp_path / "runs.jsonl", run(entry(), 0, 1.0, 2.0))
    (found,) = points([entry()], range(3), PROTOCOL, made)
    assert (found.seeds, found.reward, found.kl) == (1, Estimate(1.0, 0.1), Estimate(2.0, 0.2))


def test_the_distance_from_a_curve_is_at_the_same_kl():
    curve = [point("c", 3.0, 3.0), point("c", 1.0, 1.0), point("c", 2.0, 5.0)]
    assert over_curve(point("p", 2.5, 2.0), curve) == pytest.approx(0.5)
    assert over_curve(point("p", 2.5, 4.0), curve) == pytest.approx(0.0)
    assert over_curve(point("p", 2.5, 0.9), curve) is None
    assert over_curve(point("p", 2.5, 5.1), curve) is None
    assert over_curve(point("p", 2.5, 2.0), []) is None


def small() -> Frontier:
    start = point("start", -1.0, 0.0, error=0.3)._replace(entry=START)
    curve = [point("DPO", 0.0, 0.0), point("DPO", 2.0, 2.0)]
    entries = [point("low", -0.5, 0.5, error=0.4), point("on", 1.0, 1.0, error=0.1), point("high", 1.5, 1.0, error=0.1)]
    return Frontier(start, entries, {"DPO": curve})


def test_what_does_not_raise_the_reward_is_marked():
    """0.5 above the start, with an error of 0.5: not two of them."""
    assert [failed.name for failed in small().failed()] == ["low"]
    rows = [dict(zip(HEADER, row, strict=True)) for row in small().rows()]
    assert [(row["#"], row["objective"], row["over DPO"]) for row in rows] == [
        ("", "starting policy", "-1.00"),
        ("3", "high", "+0.50"),
        ("2", "on", "+0.00"),
        ("1", "low", "-1.00"),
    ]
    assert [bool(row[""]) for row in rows] == [False, False, False, True]
    assert rows[1]["true reward"] == "1.50 ± 0.10"


def test_fewer_seeds_are_told():
    start, (low, *others), sweeps, _ = small()
    rows = Frontier(start, [low._replace(seeds=2), *others], sweeps).rows()
    assert [row[1] for row in rows] == ["starting policy", "high", "on", "low (2 of 3 seeds)"]


def test_the_summary_names_them():
    text = "\n".join(small().summary())
    assert "high gets the most true reward, 1.50 ± 0.10 at 1.00 nats" in text
    assert "above DPO at the same KL: high." in text
    assert "below DPO at the same KL: low." in text
    assert "Not above the starting policy: low." in text
    assert "Not above the starting policy: none." in "\n".join(crowded().summary())
