"""Repeats and contradictions that are exact."""

from __future__ import annotations

import itertools

import numpy as np

from dpo_lightning.data.cleaning.repeats import contradictory, duplicates, first_of_each, shared_with
from tests.data.cleaning.common import pairs, tokens

A, B, C = [1, 2], [3], [4, 5]


def test_the_first_of_each():
    assert first_of_each(np.array([5, 3, 5, 9, 3, 5])).tolist() == [0, 1, 0, 3, 1, 0]


def test_duplicates_name_the_first():
    assert duplicates(pairs((A, B, C), (A, C, B), (A, B, C), (B, A, C))).tolist() == [0, 1, 0, 3]


def test_swapped_sides_contradict():
    found = contradictory(pairs((A, B, C), (A, C, B), (A, B, A), (C, B, A), (A, B, C)))
    assert found.tolist() == [True, True, False, False, True]


def test_a_pair_does_not_contradict_itself():
    assert not contradictory(pairs((A, B, B), (A, B, B))).any()


def test_of_many_pairs_they_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    examples = [tuple(rng.integers(0, 2, size=2).tolist() for _ in range(3)) for _ in range(60)]
    expected = [
        any(a[0] == b[0] and a[1] == b[2] and a[2] == b[1] for b in examples) and a[1] != a[2] for a in examples
    ]
    assert 0 < sum(expected) < 60
    assert contradictory(pairs(*examples)).tolist() == expected  # type: ignore[arg-type]


def test_both_labels_contradict():
    one = [(A, [B]), (A, [C]), (A, [B]), (C, [B])]
    assert contradictory(tokens(one, [True, True, False, True])).tolist() == [True, False, True, False]


def test_labels_contradict_completion_by_completion():
    examples = [(A, [B, C]), (A, [C]), (A, [B, [9]]), (C, [B])]
    found = contradictory(tokens(examples, [True, False, True, True, False, False]))
    assert found.tolist() == [True, True, False, False]


def test_lists_have_no_opposite():
    orders = [(A, list(order)) for order in itertools.permutations([A, B, C])]
    assert not contradictory(tokens(orders)).any()


def test_shared_is_prompt_and_a_completion():
    train = pairs((A, B, C), (A, [9], [8]), (B, C, A), (A, [7], B))
    held_out = pairs((A, [6], B), (C, C, A))
    assert shared_with(train, held_out).tolist() == [True, False, False, True]
