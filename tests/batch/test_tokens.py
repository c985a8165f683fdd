"""Tokens of a batch are those of the examples that it was made of."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning import TokenizedExample
from dpo_lightning.batch import collate_padded, collate_tree
from dpo_lightning.batch.tokens import batch_tokens
from tests.helpers.tiny import PAIRS, labelled_of

RAGGED = [
    TokenizedExample(0, [1, 5], [[8, 2], [9, 9, 2], [11, 2]], columns={"score": [1.0, 3.0, 2.0]}),
    TokenizedExample(1, [1, 6, 7], [[8, 2], [9, 2]], columns={"score": [1.0, 2.0]}),
]
UNSCORED = [TokenizedExample(0, [1, 5], [[8, 3, 2], [9, 2]], scored=[[False, True, True], [False, True]])]


@pytest.mark.parametrize("collate", [collate_tree, collate_padded])
@pytest.mark.parametrize(
    "examples",
    [PAIRS, [labelled_of(pair) for pair in PAIRS], RAGGED, UNSCORED],
    ids=["pairs", "labelled", "lists", "unscored"],
)
def test_a_batch_gives_its_tokens_back(collate: Any, examples: list[TokenizedExample]) -> None:
    found = batch_tokens(collate(examples))
    assert found == [(each.prompt_ids, each.completion_ids) for each in examples]


def test_an_empty_completion_has_no_row():
    empty = [PAIRS[0]._replace(completion_ids=[[8, 2], []])]
    assert batch_tokens(collate_padded(empty)) is None
    assert batch_tokens(collate_tree(empty)) == [(PAIRS[0].prompt_ids, [[8, 2], []])]
