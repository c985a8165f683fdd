"""Charts: what is drawn stands where the numbers say."""

from __future__ import annotations

import math
import random
import re
from itertools import pairwise

import pytest

from dpo_lightning.report.charts.drawn import (
    calibration,
    dots_chart,
    histogram,
    interval_bar,
    line_chart,
    named_dots,
    thinned,
)
from dpo_lightning.report.charts.frame import Mark, Series
from dpo_lightning.report.statistics import wilson
from tests.report.charts.common import drawing, lines, words


def test_a_line_goes_through_its_points_and_breaks_where_there_is_none() -> None:
    source = line_chart("Loss", [Series("a", [(0, 1.0), (10, 3.0), (20, None), (30, 2.0), (40, 2.0)])])
    (first, second), (third, fourth) = lines(source, 0)
    assert first[1] > third[1] > second[1]  # more is further up
    assert third[1] == fourth[1] == pytest.approx((first[1] + second[1]) / 2, abs=0.11)
    assert third[0] - second[0] == pytest.approx(2 * (second[0] - first[0]), abs=0.31)


def test_all_lines_share_one_scale() -> None:
    source = line_chart("Loss", [Series("a", [(0, 0.0), (1, 4.0)]), Series("b", [(0, 2.0), (1, 2.0)], 1, dash=1)])
    (a,), (b,) = lines(source, 0), lines(source, 1)
    assert b[0][1] == pytest.approx((a[0][1] + a[1][1]) / 2, abs=0.11)
    assert 'class="line s1 dashed"' in source


@pytest.mark.parametrize("points", [[], [(0, None)], [(5, 1.0)], [(0, 0.0), (1, 0.0)], [(0, 1e300), (1, -1e300)]])
def test_few_and_strange_points_are_drawn(points) -> None:
    for source in (
        line_chart("a", [Series("a", points)], marked=[Mark(3, "b")]),
        dots_chart("a", [Series("a", points)], x_title="x"),
        histogram("a", [Series("a", [(x, None) for x, _ in points])], x_title="x"),
    ):
        drawing(source)
        assert not re.search("nan|inf", source)


def test_values_of_many_orders_have_a_logarithmic_axis_that_says_so() -> None:
    source = line_chart("Gradient norm", [Series("", [(step, 10.0**step) for step in range(5)])])
    assert "logarithmic" in words(source)
    (places,) = lines(source, 0)
    gaps = [before[1] - after[1] for before, after in pairwise(places)]
    assert max(gaps) == pytest.approx(min(gaps), abs=0.21)


def test_a_long_line_keeps_its_ends_and_its_spikes() -> None:
    points = [(step, math.sin(step / 1000)) for step in range(100_000)]
    points[54_321] = (54_321, 50.0)
    points[12_345] = (12_345, -50.0)
    kept = thinned(points)
    assert len(kept) <= 610
    assert {points[0], points[-1], points[54_321], points[12_345]} <= {*kept}
    assert kept == sorted(kept)
    assert thinned(points[:600]) == points[:600]


def test_a_long_line_that_breaks_often_stays_short() -> None:
    points = [(step, None if step % 2 else 1.0) for step in range(100_000)]
    kept = thinned(points)
    assert len(kept) <= 1300
    assert any(value is None for _, value in kept)


def test_a_histogram_has_the_shares_of_the_bins() -> None:
    values = [0.0] * 3 + [1.0]
    source = histogram("a", [Series("a", [(each, None) for each in values])], x_title="x")
    path = re.search(r'class="area s0 f0" d="M[\d.]+ 210.0([^"]+)z"', source)
    assert path is not None
    heights = [210 - float(each) for each in re.findall(r"V([\d.]+)h", path[1])]
    assert len(heights) == 30
    assert heights[0] == pytest.approx(3 * heights[-1], abs=0.2)
    assert sum(each > 0 for each in heights) == 2


def test_of_many_dots_a_part_is_drawn() -> None:
    chance = random.Random(0)
    cloud = [(chance.random(), chance.random()) for _ in range(50_000)]
    source = dots_chart("a", [Series("a", cloud)], x_title="x")
    assert 1000 < source.count("<circle") <= 1502


def test_points_have_numbers_that_the_legend_explains() -> None:
    source = named_dots("Accuracy", [("beta <1>", 0.1, 0.8), ("b", 3.0, 0.9)], x_title="KL")
    assert ["".join(each.itertext()) for each in drawing(source).iter("li")] == ["1 beta <1>", "2 b"]
    first, second = re.findall(r'cx="([\d.]+)" cy="([\d.]+)" r="5"', source)
    assert float(first[0]) < float(second[0])
    assert float(first[1]) > float(second[1])


def test_what_is_calibrated_stands_on_the_diagonal() -> None:
    source = calibration("a", [(0.6, wilson(0.6, 100)), (0.9, wilson(0.9, 100))])
    diagonal = re.search(r'class="ideal" d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"', source)
    assert diagonal is not None
    x0, y0, x1, y1 = map(float, diagonal.groups())
    for x, y in re.findall(r'class="point f0" cx="([\d.]+)" cy="([\d.]+)" r="4"', source):
        assert (float(x) - x0) / (x1 - x0) == pytest.approx((float(y) - y0) / (y1 - y0), abs=0.01)


def test_an_interval_in_a_cell_goes_from_its_low_to_its_high_end() -> None:
    seen = wilson(0.75, 40)
    source = interval_bar(seen)
    assert f"M{100 * seen.low:.1f} 5H{100 * seen.high:.1f}" in source
    drawing(source)


def test_a_run_of_two_steps_has_no_halves_of_one_on_its_axis() -> None:
    source = line_chart("Loss", [Series("", [(0, 10.0), (1, 20.0), (2, 20.0)])])
    below = [each.text for each in drawing(source).iter("text") if each.get("text-anchor") == "middle"]
    assert below == ["0", "1", "2", "optimizer step"]
