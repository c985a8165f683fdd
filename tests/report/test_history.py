"""Points of a run, and their form in a checkpoint."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch

from dpo_lightning.report.history import MOST_POINTS, History, Point

POINTS = [
    Point(0, 0.25, {"train/loss": 0.6931471805599453}),
    Point(10, 1.0, {"train/loss": 0.1, "lr": 5e-7, "epoch": 0.0}),
    Point(10, 1.5, {"val/loss": math.nan}),
    Point(20, 2.0, {"train/loss": math.inf, "lr": 4e-7, "epoch": 1.0}),
]


def test_a_checkpoint_gives_the_points_back_to_the_last_bit(tmp_path):
    torch.save(History(POINTS).packed(), tmp_path / "packed.pt")
    again = History.of(torch.load(tmp_path / "packed.pt", weights_only=True)).points
    assert [repr(point) for point in again] == [repr(point) for point in POINTS]


def test_the_form_is_compact(tmp_path):
    names = [f"train/value_{number}" for number in range(20)]
    points = [Point(step, float(step), dict.fromkeys(names, 0.1)) for step in range(1000)]
    torch.save(History(points).packed(), tmp_path / "packed.pt")
    assert (tmp_path / "packed.pt").stat().st_size < 1000 * 23 * 8 + 4096


def test_what_is_logged_once_more_is_not_added():
    history = History(POINTS)
    assert not history.add(Point(20, 9.0, {"train/loss": math.inf}))
    assert history.add(Point(20, 9.0, {"train/loss": 0.5}))
    assert history.add(Point(20, 9.0, {"val/loss": math.nan}))
    assert not history.add(Point(20, 9.0, {"val/loss": math.nan}))
    assert history.add(Point(30, 9.0, {"train/loss": math.inf}))
    assert len(history.points) == len(POINTS) + 3


@pytest.mark.parametrize("packed", [None, 3, [{}], [{"names": ["a"], "rows": torch.ones(2, 2)}], [{"names": ["a"]}]])
def test_what_another_version_wrote_is_no_history(packed: Any) -> None:
    assert History.of(packed).points == []


def test_a_point_is_a_line_and_back():
    point = Point(3, 1.5, {"train/loss": 0.5})
    assert point.row() == {"step": 3, "seconds": 1.5, "train/loss": 0.5}
    assert Point.of_row(point.row()) == point
    assert math.isnan(Point.of_row({"step": 3, "seconds": 1, "val/loss": None}).values["val/loss"])


def test_a_long_run_is_kept_in_part() -> None:
    history = History()
    for step in range(1, 3 * MOST_POINTS):
        history.add(Point(step, float(step), {"train/loss": 0.5}))
        if step % 64 == 0:
            history.add(Point(step, float(step), {"val/loss": 0.25}))
        assert len(history.points) <= MOST_POINTS
    steps = [point.step for point in history.points]
    assert steps == sorted(steps)
    assert len(steps) >= MOST_POINTS // 4
    assert (steps[0], steps[-1]) == (1, 3 * MOST_POINTS - 1)
    assert max(b - a for a, b in pairwise(steps)) <= 24
    assert sum("val/loss" in point.values for point in history.points) == (3 * MOST_POINTS - 1) // 64
