"""The skips of a gradient scaler, by hand."""

from __future__ import annotations

import math

from dpo_lightning.callbacks.scaler_skips import ScalerSkips


def test_a_scaler_may_skip_until_its_scale_is_1_or_31_times_in_a_row():
    skips, optimizer = ScalerSkips(), object()
    assert [skips.is_left_to_it(math.nan, scale, optimizer) for scale in (4.0, 2.0, 1.0)] == [True, True, False]
    assert (skips.count, skips.in_a_row) == (2, 3)
    assert not skips.is_left_to_it(1.0, 1.0, optimizer)
    assert (skips.count, skips.in_a_row) == (2, 0)
    assert [skips.is_left_to_it(math.inf, 2.0, optimizer) for _ in range(32)] == [True] * 31 + [False]


def test_a_good_step_of_another_optimizer_ends_no_row():
    skips, one, other = ScalerSkips(), object(), object()
    assert skips.is_left_to_it(math.nan, 8.0, one)
    assert not skips.is_left_to_it(1.0, 8.0, other)
    assert skips.in_a_row == 1


def test_counts_go_on():
    skips = ScalerSkips()
    skips.restore(3, 31)
    assert not skips.is_left_to_it(math.nan, 8.0, object())
    assert (skips.count, skips.in_a_row) == (3, 32)
