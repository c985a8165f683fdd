"""An interval for a share, and what a feature tells on the half that it was not learned on."""

from __future__ import annotations

import math
import random

import pytest

from dpo_lightning.data.inspect.statistics import told_by, wilson


@pytest.mark.parametrize(("hits", "cases"), [(5, 10), (0, 7), (7, 7), (620, 1000)])
def test_the_ends_solve_the_equation_of_the_score_test(hits, cases):
    share = wilson(hits, cases)
    assert share.value == hits / cases
    for end in (share.low, share.high):
        if 0 < end < 1:
            assert abs(share.value - end) == pytest.approx(1.96 * math.sqrt(end * (1 - end) / cases))
    assert 0 <= share.low <= share.value <= share.high <= 1


def test_without_cases_nothing_is_known():
    assert wilson(0, 0) == (0.5, 0.0, 1.0, 0)


def test_a_value_that_is_always_preferred():
    told = told_by(["yes"] * 50, ["no"] * 50)
    assert (told.accuracy, told.decided.cases, told.best, told.worst) == (1.0, 25, "yes", "no")
    assert not told.is_noise


def test_where_the_feature_says_nothing_half_counts():
    told = told_by(["same"] * 60 + ["yes"] * 40, ["same"] * 60 + ["no"] * 40)
    assert told.decided.value == 1.0
    assert told.accuracy == pytest.approx(0.5 + told.decided.cases / 50 / 2)


def test_many_values_that_stand_once_are_noise():
    rng = random.Random(0)
    told = told_by([rng.random() for _ in range(500)], [rng.random() for _ in range(500)])
    assert told.accuracy == 0.5
    assert told.is_noise


def test_chance_is_noise():
    noisy = 0
    for seed in range(60):
        rng = random.Random(seed)
        values = [[rng.choice("abcdef") for _ in range(400)] for _ in range(2)]
        noisy += told_by(*values, seed=seed).is_noise
    assert noisy >= 58


def test_there_may_be_no_pair():
    told = told_by([], [])
    assert told.is_noise
    assert told.best is None
