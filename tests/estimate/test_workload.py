"""Tokens, keys and attended pairs of a micro-batch: against real batches."""

from __future__ import annotations

import pytest

from dpo_lightning.batch import TokenizedExample, collate_padded, collate_tree
from dpo_lightning.estimate import Workload

WORK = Workload(4, 50, 30)


@pytest.mark.parametrize("completions", [1, 2, 3])
@pytest.mark.parametrize("tree", [True, False])
def test_tokens_are_those_of_a_batch(tree, completions):
    pairs = [TokenizedExample(i, [1] * 50, [[2] * 30] * completions) for i in range(4)]
    batch = (collate_tree if tree else collate_padded)(pairs)
    work = WORK._replace(tree=tree, completions=completions)
    assert work.tokens == batch.input_ids.numel()
    assert work.scored == len(batch.targets)
    if batch.tree is not None:
        assert work.keys == len(batch.tree.key_index)


@pytest.mark.parametrize("completions", [1, 2, 3])
@pytest.mark.parametrize("tree", [True, False])
def test_attended_pairs_are_those_of_the_mask(tree, completions):
    prompt, completion = 300, 200
    sequence = sum(range(1, prompt + completion + 1))
    prompt_again = sum(range(1, prompt + 1)) if tree else 0
    exact = completions * sequence - (completions - 1) * prompt_again
    work = Workload(1, prompt, completion, tree, completions=completions)
    assert work.attended == pytest.approx(exact, rel=0.01)
