"""Which positions of a batch count: each token of the tree once."""

from __future__ import annotations

import torch

from dpo_lightning.batch import TokenizedExample, collate_padded, collate_tree
from dpo_lightning.batch.counted import counted_tokens

EXAMPLES = [
    TokenizedExample.pair(0, [11, 12, 13], [21, 22], [31]),
    TokenizedExample.pair(1, [14], [], [41, 42, 43]),
    TokenizedExample(2, [15, 16], [[51], [61]], mismatched_ids=[71]),
]


def test_a_padded_prompt_counts_once_and_padding_never() -> None:
    batch = collate_padded(EXAMPLES)
    counted = counted_tokens(batch)

    assert counted is not None
    assert counted.reshape(batch.input_ids.shape).tolist() == [
        [True, True, True, True, True],  # 11 12 13 21 22
        [True, True, True, False, False],  # 15 16 51
        [False, False, False, True, False],  # .. .. .. 31
        [True, True, True, True, False],  # 14 41 42 43: the first row of its example
        [False, False, True, False, False],  # .. .. 61
        [False, False, True, False, False],  # .. .. 71
    ]


def test_it_is_what_a_packed_row_holds() -> None:
    padded, tree = collate_padded(EXAMPLES), collate_tree(EXAMPLES)
    counted = counted_tokens(padded)

    assert counted is not None
    assert counted_tokens(tree) is None
    assert sorted(padded.input_ids.flatten()[counted].tolist()) == sorted(tree.input_ids.flatten().tolist())


def test_zero_is_a_token_as_any_other() -> None:
    counted = counted_tokens(collate_padded([TokenizedExample.pair(0, [0, 0], [0], [0, 0])]))

    assert torch.equal(counted, torch.tensor([True, True, True, False, False, False, True, True]))


def test_tokens_that_are_not_scored_count_as_any_other() -> None:
    some = [EXAMPLES[0]._replace(scored=[[False, True], []]), EXAMPLES[2]._replace(scored=[[True], []])]
    every = [each._replace(scored=[]) for each in some]

    assert torch.equal(counted_tokens(collate_padded(some)), counted_tokens(collate_padded(every)))
