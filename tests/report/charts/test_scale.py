"""Places on an axis, its round numbers and their texts."""

from __future__ import annotations

import itertools
import random

import pytest

from dpo_lightning.report.charts.scale import Scale, spanning, spelled


def test_numbers_become_places_and_what_lies_beyond_the_end() -> None:
    scale = Scale(0, 10, 100, 200)
    assert [scale(each) for each in (0, 5, 10, -3, 30)] == [100, 150, 200, 100, 200]
    down = Scale(1, 100, 50, 0, logarithmic=True)
    assert [down(each) for each in (1, 10, 100)] == pytest.approx([50, 25, 0])


def test_ticks_are_few_inside_and_evenly_apart() -> None:
    chance = random.Random(0)
    for _ in range(500):
        low = chance.uniform(-1, 1) * 10 ** chance.randint(-8, 8)
        ticks = Scale(low, low + 10 ** chance.uniform(-3, 8), 0, 1).ticks
        assert 2 <= len(ticks) <= 7
        gaps = [second - first for first, second in itertools.pairwise(ticks)]
        assert max(gaps) == pytest.approx(min(gaps), rel=1e-6, abs=1e-9)
    assert Scale(0.0, 1.0, 0, 1).ticks == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])


def test_ticks_of_what_is_counted_are_whole() -> None:
    for high, ticks in (
        (1, [0, 1]),
        (2, [0, 1, 2]),
        (4, [0, 1, 2, 3, 4]),
        (12, [0, 5, 10]),
        (110, [0, 25, 50, 75, 100]),
    ):
        assert spanning([0, high], 0, 1, room=0.01, whole=True).ticks == ticks
    assert spanning([7, 7], 0, 1, whole=True).labels == [(7, "7")]


def test_ticks_of_a_logarithmic_axis_are_powers_of_ten() -> None:
    assert Scale(0.5, 2000, 0, 1, logarithmic=True).ticks == [1, 10, 100, 1000]


def test_a_scale_holds_what_it_is_made_for() -> None:
    for values in ([], [3.0], [0.0, 0.0], [-2.0, 5.0], [1e-9, 1.0], [1e300, -1e300], [5e-324], [1e16, 1e16 + 2]):
        for logarithmic in (False, None):
            scale = spanning(values, 0, 100, logarithmic=logarithmic)
            places = [scale(each) for each in values]
            assert all(0 <= place <= 100 for place in places)
            assert len(scale.labels) < 12
    assert spanning([1e-4, 1.0], 0, 1, logarithmic=None).logarithmic
    assert not spanning([-1.0, 1e6], 0, 1, logarithmic=None).logarithmic


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.30000000000000004, "0.3"), (1000, "1,000"), (2e-6, "2e-06"), (0, "0"), (-40, "-40"), (1.5e7, "1.5e+07")],
)
def test_numbers_are_spelled_short(value, said) -> None:
    assert spelled(value) == said
