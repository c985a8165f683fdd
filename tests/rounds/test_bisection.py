"""Bisection of completions whose chances are known."""

from __future__ import annotations

import pytest

from dpo_lightning.rounds.bisection import Segment, bisected, is_pivotal


def found(chances: list[float], gap: float = 0.2) -> tuple[list[Segment], list[int]]:
    asked: list[int] = []

    def chance(count: int) -> float:
        asked.append(count)
        return chances[count]

    return bisected(len(chances) - 1, chance, gap), asked


@pytest.mark.parametrize("place", range(9))
def test_one_step_is_found_wherever_it_is(place: int) -> None:
    segments, _ = found([0.5] * (place + 1) + [0.9] * (9 - place))
    assert [each for each in segments if is_pivotal(each, 0.2)] == [Segment(place, place + 1, 0.5, 0.9)]
    assert [each.start for each in segments[1:]] == [each.end for each in segments[:-1]]
    assert (segments[0].start, segments[-1].end) == (0, 9)


def test_a_chance_that_stays_is_asked_for_at_the_ends_alone() -> None:
    segments, asked = found([0.5, 0.9, 0.9, 0.1, 0.55])
    assert segments == [Segment(0, 4, 0.5, 0.55)]
    assert sorted(asked) == [0, 4]
    assert segments[0].change == pytest.approx(0.05)


def test_steps_of_both_signs_and_small_ones() -> None:
    segments, _ = found([0.4, 0.9, 0.85, 0.8, 0.05])
    assert [(each.start, each.end) for each in segments] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert [each.start for each in segments if is_pivotal(each, 0.2)] == [0, 3]
    assert found([0.4]) == ([], [])
    assert not is_pivotal(Segment(0, 2, 0.1, 0.9), 0.2)
