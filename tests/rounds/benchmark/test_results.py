"""How right scores are, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.rounds.benchmark.results import results_of, right_share


@pytest.mark.parametrize(
    ("scores", "right", "ties", "share"),
    [
        ([2.0, 1.0], 1, "wrong", 1.0),
        ([1.0, 2.0], 1, "half", 0.0),
        ([1.0, 1.0], 1, "wrong", 0.0),  # RewardBench: chosen > rejected
        ([1.0, 1.0], 1, "half", 0.5),
        ([3.0, 1.0, 3.0, 3.0], 1, "wrong", 1 / 3),  # RewardBench 2: one of three equal
        ([3.0, 4.0, 3.0, 3.0], 1, "half", 0.0),
        ([2.0, 3.0, 1.0], 2, "wrong", 1.0),
        ([2.0, 3.0, 2.0], 2, "half", 0.0),
    ],
)
def test_a_row(scores, right, ties, share):
    assert right_share(scores, right, ties) == share


def row(subset: str, chosen: str, rejected: str, scores: list[float]) -> dict[str, Any]:
    return {"subset": subset, "completions": [chosen, rejected], "scores": scores, "right": 1}


ROWS = [
    row("math-prm", "long", "s", [1.0, 0.0]),
    row("math-prm", "long", "s", [0.0, 1.0]),
    row("math-prm", "s", "long", [1.0, 1.0]),
    row("hep-go", "same", "size", [2.0, 1.0]),
]


def test_subsets_lengths_and_intervals():
    found = results_of(ROWS, "half", has_subsets=True)
    assert {name: part.accuracy.share for name, part in found.subsets.items()} == {"math-prm": 0.5, "hep-go": 1.0}
    assert (found.whole.accuracy.share, found.whole.accuracy.of, found.whole.ties) == (2.5 / 4, 4, 1)
    assert found.mean_of_subsets == 0.75
    assert found.whole.longer_wins == (1 + 1 + 0 + 0.5) / 4
    assert (found.whole.when_longer.share, found.whole.when_longer.of) == (0.5, 2)
    assert (found.whole.when_shorter.share, found.whole.when_shorter.of) == (0.75, 2)
    assert found.sections["Reasoning"].accuracy == pytest.approx((984 * 0.5 + 164) / (984 + 164))
    strict = results_of(ROWS, "wrong", has_subsets=True)
    for end in (strict.whole.accuracy.low, strict.whole.accuracy.high):  # where the share is 1.96 standard errors off
        assert (0.5 - end) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / 4, abs=1e-6)
    assert strict.plain()["subsets"]["math-prm"]["accuracy"] == pytest.approx(1 / 3)


def test_ties_have_their_own_score_in_the_mean():
    ties = [{**ROWS[0], "subset": "Ties", "id": "ref:1"}, ROWS[3]]
    tied = {"subset": "Ties", "completions": ["a", "b", "c"], "scores": [1.0, 1.0, 0.0], "right": 2, "id": "tied:1"}
    found = results_of([*ties, tied], "wrong", has_subsets=True)
    assert found.ties_score == pytest.approx(1.01)
    assert found.mean_of_subsets == pytest.approx((1.01 + 1) / 2)
    assert found.sections == {}
    alone = results_of([{**each, "subset": "all"} for each in ROWS], "wrong", has_subsets=False)
    assert (alone.subsets, alone.mean_of_subsets) == ({}, None)
