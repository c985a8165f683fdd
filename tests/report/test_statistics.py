"""Numbers of a report against those that stand in books, and against counting."""

from __future__ import annotations

import math
import random

import pytest

from dpo_lightning.report.statistics import (
    bins_of,
    calibrated,
    calibration_error,
    correlation,
    probability,
    quantile_groups,
    spread,
    wilson,
)


def test_wilsons_interval_is_the_one_of_the_quadratic_equation() -> None:
    """Its ends solve (p - share)^2 = z^2 p (1 - p) / n."""
    for right, of in ((0, 10), (7, 10), (10, 10), (81, 100), (1, 1)):
        seen = wilson(right / of, of)
        for end in (seen.low, seen.high):
            assert (end - right / of) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / of, abs=1e-12)
        assert 0 <= seen.low <= seen.share <= seen.high <= 1


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    chance, truth = random.Random(0), 0.8
    seen = [wilson(sum(chance.random() < truth for _ in range(50)) / 50, 50) for _ in range(2000)]
    assert sum(each.low <= truth <= each.high for each in seen) / len(seen) == pytest.approx(0.95, abs=0.02)


def test_groups_are_of_about_equal_size_and_keep_equal_values_together() -> None:
    values = [5.0, 1.0, 3.0, 2.0, 4.0, 0.0, 7.0, 6.0]
    groups = quantile_groups(values, 4)
    assert [sorted(values[place] for place in group) for group in groups] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert quantile_groups([1.0] * 9, 4) == [[*range(9)]]
    assert quantile_groups([], 4) == []
    tied = quantile_groups([0.0] * 6 + [1.0] * 2, 4)
    assert sorted(map(len, tied)) == [2, 6]


def test_bins_share_out_all_values_and_the_outer_ones_take_the_rest() -> None:
    assert bins_of([-5.0, 0.1, 0.9, 5.0], 0, 1, 2) == [0.5, 0.5]
    assert bins_of([], 0, 1, 2) == [0, 0]


def test_a_few_values_far_out_do_not_flatten_a_histogram() -> None:
    near = [chance / 100 for chance in range(1000)]
    assert spread(near) == (0.0, 9.99)
    low, high = spread([*near, 1e6])
    assert low == 0
    assert high < 20
    assert spread([2.0, 2.0]) == pytest.approx((1.8, 2.2))
    assert spread([]) == (0.0, 1.0)


def test_probabilities_are_sigmoids_and_never_overflow() -> None:
    assert probability(0) == 0.5
    assert probability(2.0) == pytest.approx(math.e**2 / (1 + math.e**2))
    assert [probability(-1e6), probability(1e6)] == [0.0, 1.0]


def test_margins_that_are_log_odds_of_the_truth_are_calibrated() -> None:
    chance = random.Random(0)
    margins = []
    for _ in range(20_000):
        size = chance.uniform(0.01, 3)
        margins.append(size if chance.random() < probability(size) else -size)
    points = calibrated(margins)
    assert calibration_error(points) < 0.02
    assert sum(seen.of for _, seen in points) == len(margins)
    assert all(seen.low - 0.02 <= predicted <= seen.high + 0.02 for predicted, seen in points)
    assert calibration_error(calibrated([4 * each for each in margins])) > 0.1


def test_correlation_of_what_does_not_vary_is_none() -> None:
    assert correlation([(1.0, 2.0), (2.0, 4.0), (3.0, 6.0)]) == pytest.approx(1)
    assert correlation([(1.0, 2.0), (1.0, 3.0)]) is None
    assert correlation([]) is None
