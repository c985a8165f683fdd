"""Tokens of examples, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset

from dpo_lightning.batch import TokenizedExample
from dpo_lightning.data.lengths import Lengths

# Prompt, completions, mismatched: 3 + (2, 1), 1 + (2) + 4, 2 + (1, 1, 5).
EXAMPLES = [
    TokenizedExample(0, [1, 2, 3], [[4, 5], [6]]),
    TokenizedExample(1, [1], [[4, 5]], [6, 7, 8, 9], True),
    TokenizedExample(2, [1, 2], [[4], [5], [6, 7, 8, 9, 10]]),
]


def as_lists(lengths: Lengths) -> list[list[object]]:
    return [part.tolist() for part in lengths]


def table(examples: list[TokenizedExample], *left_out: str) -> Dataset:
    names = [name for name in ("prompt_ids", "completion_ids", "mismatched_ids") if name not in left_out]
    return Dataset.from_list([{name: getattr(each, name) for name in names} for each in examples])


@pytest.mark.parametrize("counted", ["examples", "rows", "parts"])
def test_every_way_to_count_finds_the_same(counted: str) -> None:
    lengths = {
        "examples": lambda: Lengths.of_examples(EXAMPLES),
        "rows": lambda: Lengths.of_rows(table(EXAMPLES)),
        "parts": lambda: Lengths.joined([Lengths.of_examples(EXAMPLES[:2]), Lengths.of_rows(table(EXAMPLES[2:]))]),
    }[counted]()

    assert as_lists(lengths) == [[3, 1, 2], [[2, 1, 0], [2, 0, 0], [1, 1, 5]], [0, 4, 0]]
    assert lengths.tokens.tolist() == [6, 7, 9]
    assert lengths.longest.tolist() == [5, 5, 7]
    assert lengths.sequences.tolist() == [2, 2, 3]


def test_a_table_without_mismatched_completions_has_none() -> None:
    assert as_lists(Lengths.of_rows(table(EXAMPLES[:1], "mismatched_ids"))) == [[3], [[2, 1]], [0]]


def test_the_first_completions_are_counted_alone() -> None:
    lengths = Lengths.of_examples(EXAMPLES)

    assert as_lists(lengths.first(1)) == [[3, 1, 2], [[2], [2], [1]], [0, 0, 0]]
    assert lengths.first(1).tokens.tolist() == [5, 3, 3]
    assert lengths.first(None) is lengths


def test_rows_are_selected_in_the_order_asked_for() -> None:
    found = Lengths.of_examples(EXAMPLES).of(np.array([2, 0]))

    assert as_lists(found) == [[2, 3], [[1, 1, 5], [2, 1, 0]], [0, 0]]


def test_of_nothing_there_is_nothing() -> None:
    for nothing in (Lengths.of_examples([]), Lengths.joined([])):
        assert as_lists(nothing) == [[], [], []]
        assert nothing.tokens.tolist() == nothing.longest.tolist() == nothing.sequences.tolist() == []
