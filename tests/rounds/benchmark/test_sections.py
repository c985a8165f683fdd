"""RewardBench's sections and RewardBench 2's ties, against numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from dpo_lightning.errors import InputError
from dpo_lightning.rounds.benchmark.sections import SECTIONS, mean_of_sections, sections_of, ties_score


def test_sections_weigh_their_subsets_as_rewardbench_does():
    weights = {name: weight for section in SECTIONS.values() for name, weight in section.items()}
    assert (len(weights), sum(weights.values())) == (23, 2985 - 447 + 984)  # of 2985 prompts, 447 weigh 984
    accuracies = {name: 1.0 if name in ("math-prm", "mt-bench-easy") else 0.5 for name in weights}
    found = sections_of(accuracies)
    assert found["Reasoning"].accuracy == pytest.approx(0.75)  # math weighs as much as all code
    assert found["Chat"].accuracy == pytest.approx((330 * 0.5 + 28) / 358)
    expected = (0.75 + (330 * 0.5 + 28) / 358 + 0.5 + 0.5) / 4
    assert mean_of_sections(found) == pytest.approx(expected)


def test_a_part_of_rewardbench_has_no_mean_and_other_subsets_no_sections():
    found = sections_of({"hep-go": 0.25, "math-prm": 1.0})
    assert found["Reasoning"].accuracy == pytest.approx((984 + 0.25 * 164) / (984 + 164))
    assert (found["Reasoning"].subsets, found["Reasoning"].of) == (["math-prm", "hep-go"], 7)
    assert mean_of_sections(found) is None
    assert sections_of({"hep-go": 0.25, "mine": 1.0}) == {}


def row(name: str, right: list[float], wrong: list[float]) -> dict[str, Any]:
    return {"id": name, "right": len(right), "scores": [*right, *wrong]}


def test_the_score_of_ties_by_hand():
    rows = [
        row("ref:1", [3.0], [1.0, 0.0]),  # right, margin 2
        row("tied:1", [4.0, 3.0], [1.0]),  # right, 1 among right ones, 2 to the wrong: clear, also by the reference
        row("ref:2", [0.5], [0.0]),  # right, margin 0.5
        row("tied:2", [4.0, 3.0], [1.0]),  # clear by itself, and not by the reference
        row("tied:3", [1.0, 1.0], [1.0]),  # wrong, without a reference
    ]
    margins = (math.tanh(2 / 1 - 1) + math.tanh(0.5 / 1 - 1)) / 2
    assert ties_score(rows) == pytest.approx(0.3 * 2 / 3 + 0.3 * 1 + 0.2 * 1 + 0.2 * 0.5 + 0.01 * margins)
    perfect = [row("ref:1", [1.0], [0.0]), row("tied:1", [1.0, 1.0], [0.0])]
    assert ties_score(perfect) == pytest.approx(1.01)
    assert ties_score([row("ref:1", [0.0], [0.0]), row("tied:1", [0.0, 0.0], [0.0])]) == 0.0


def test_ids_of_ties():
    assert ties_score([row("7", [1.0], [0.0])]) is None
    with pytest.raises(InputError, match="1 rows have no id as `ref:7`"):
        ties_score([row("7", [1.0], [0.0]), row("ref:1", [1.0], [0.0])])
    with pytest.raises(InputError, match="the id ref:1 comes twice"):
        ties_score([row("ref:1", [1.0], [0.0])] * 2)
    with pytest.raises(InputError, match="tied:1 has one right completion"):
        ties_score([row("tied:1", [1.0], [0.0])])
