"""The types that cross layers: sums per completion, and integers only."""

from __future__ import annotations

import pytest
import torch
from torch.utils._pytree import tree_leaves

from dpo_lightning.batch import Collate, PreferenceBatch, TokenizedExample, collate_padded, collate_tree
from tests.helpers.tiny import PAIRS


def interleaved_batch() -> PreferenceBatch:
    """Two pairs whose scored tokens stand in the order of a packed row: c0 c0 r0 c1 r1 r1 r1."""
    return PreferenceBatch(
        input_ids=torch.zeros(1, 9, dtype=torch.long),
        predict_index=torch.arange(7),
        targets=torch.zeros(7, dtype=torch.long),
        sequence_id=torch.tensor([0, 0, 2, 1, 3, 3, 3]),
        lengths=torch.tensor([2, 1, 1, 3]),
        example_of_sequence=torch.tensor([0, 1, 0, 1]),
        row_ids=torch.tensor([5, 9]),
        completions=(2, 2),
    )


def test_sums_each_token_into_its_own_completion() -> None:
    values = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])

    sums = interleaved_batch().sum_per_sequence(values)

    assert sums.tolist() == [3.0, 8.0, 4.0, 112.0]  # chosen 0, chosen 1, rejected 0, rejected 1


def test_each_token_gets_the_gradient_of_its_completion() -> None:
    values = torch.zeros(7, dtype=torch.float64, requires_grad=True)

    (interleaved_batch().sum_per_sequence(values) * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()

    assert values.grad is not None
    assert values.grad.tolist() == [1, 1, 3, 2, 4, 4, 4]
    assert values.grad.dtype == torch.float64


def test_sums_of_a_padded_batch_against_a_loop() -> None:
    batch = collate_padded(PAIRS)
    values = torch.rand(len(batch.targets), dtype=torch.float64)

    expected, start = [], 0
    for completion in [pair.completion_ids[k] for k in range(2) for pair in PAIRS]:
        expected.append(sum(values[start : start + len(completion)].tolist()))
        start += len(completion)

    assert batch.sum_per_sequence(values).tolist() == pytest.approx(expected)
    assert batch.examples == len(PAIRS)


@pytest.mark.parametrize("collate", [collate_padded, collate_tree])
def test_no_tensor_of_a_batch_is_floating(collate: Collate) -> None:
    leaves = [leaf for leaf in tree_leaves(collate(PAIRS)) if isinstance(leaf, torch.Tensor)]
    assert len(leaves) >= 6
    assert not any(leaf.is_floating_point() for leaf in leaves)


def test_examples_and_batches_are_a_line_in_a_notebook() -> None:
    example = TokenizedExample.labelled(3, [1, 2], [5, 6, 7], True)
    assert repr(example) == "TokenizedExample(row 3: prompt of 2 tokens, completions of 3, labels [True])"
    batch = collate_tree(PAIRS)
    assert repr(batch) == (
        f"PreferenceBatch(tree: 3 examples, 6 completions, input [1, {batch.input_ids.shape[1]}], "
        f"{batch.targets.shape[0]} scored tokens, on cpu)"
    )
