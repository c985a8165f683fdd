"""The arrays that batches are made of, against lists of Python."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from dpo_lightning.batch import Collate, PreferenceBatch, TokenizedExample, collate_padded, collate_tree, sequence_order
from dpo_lightning.batch.parts import Parts, ranges
from dpo_lightning.errors import InputError
from tests.batch.oracle import padded_by_lists, random_examples, tree_by_lists


def said(value: Any) -> Any:
    """All that a part of a batch says, in plain values: tensors with their types and shapes."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.tolist()
    if hasattr(value, "_fields"):
        return type(value).__name__, {name: said(each) for name, each in value._asdict().items()}
    return {name: said(each) for name, each in value.items()} if isinstance(value, Mapping) else value


@pytest.mark.parametrize(
    ("collate", "by_lists"), [(collate_tree, tree_by_lists), (collate_padded, padded_by_lists)], ids=["tree", "padded"]
)
def test_a_batch_is_the_one_that_lists_make(collate: Collate, by_lists: Collate) -> None:
    rng = random.Random(0)
    batches: list[PreferenceBatch] = []
    for _ in range(200):
        examples = random_examples(rng)
        batches.append(collate(examples))
        assert said(batches[-1]) == said(by_lists(examples))
    assert any(batch.mismatched for batch in batches)
    assert any(batch.has_empty_completion for batch in batches)
    assert any(batch.labels is not None and batch.column_bits for batch in batches)
    assert any(len({*batch.completions}) > 1 for batch in batches)


def test_parts_by_hand() -> None:
    parts = Parts.of([TokenizedExample(0, [5, 6], [[7], [8, 9]], [4]), TokenizedExample(1, [1], [[2]])])
    assert parts.ids.tolist() == [5, 6, 7, 8, 9, 4, 1, 2]
    assert parts.prompt_starts.tolist() == [0, 6]
    assert parts.starts.tolist() == [2, 3, 5, 7]
    assert parts.segments == ((2, (1, 2, 1)), (1, (1,)))
    assert parts.order.tolist() == [0, 3, 1, 2]
    assert parts.order_of_completions.tolist() == [0, 2, 1]


def test_the_order_is_that_of_sequences() -> None:
    rng = random.Random(1)
    for _ in range(20):
        examples = random_examples(rng)
        parts = Parts.of(examples)
        firsts = np.cumsum([0, *(len(each.branches) for each in examples)])
        assert parts.order.tolist() == [firsts[example] + k for example, k in sequence_order(examples)]


def test_ranges_of_nothing() -> None:
    assert ranges(np.array([3, 9]), np.array([0, 0])).tolist() == []


@pytest.mark.parametrize("token", [1.5, "a", None, 2**70])
def test_a_token_is_a_whole_number(token: Any) -> None:
    examples = [TokenizedExample(3, [1], [[2]]), TokenizedExample(4, [5, token], [[6]])]
    with pytest.raises(InputError, match=rf"^row 4 \(from 0\): {token!r} is no token id: give a whole number$"):
        collate_tree(examples)


@pytest.mark.parametrize("one", [np.int64(7), np.int32(7), torch.tensor(7)], ids=["int64", "int32", "tensor"])
def test_numbers_of_other_libraries_are_whole_numbers(one: Any) -> None:
    assert collate_tree([TokenizedExample(0, [one], [[7]])]).input_ids.tolist() == [[7, 7]]
