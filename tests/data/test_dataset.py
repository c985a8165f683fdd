"""Tokenised rows come back as the examples that they were."""

from __future__ import annotations

import pytest
from datasets import Dataset

from dpo_lightning.batch import TokenizedExample
from dpo_lightning.data.dataset import ExampleDataset

PAIRS = [
    TokenizedExample.pair(0, [1, 5], [6, 2], [7, 8, 2], margin=0.5, weight=2.0),
    TokenizedExample.pair(3, [1], [9, 2], [2], margin=-1.5, weight=0.0),
]
LABELLED = [
    TokenizedExample.labelled(0, [1, 5], [6, 2], True, [7]),
    TokenizedExample.labelled(1, [1], [9, 2], False, [6, 2]),
]


def stored(examples: list[TokenizedExample], *names: str) -> ExampleDataset:
    return ExampleDataset(
        Dataset.from_list(
            [{**{name: getattr(each, name) for name in names}, **each.columns, "outcome": 0} for each in examples]
        )
    )


@pytest.mark.parametrize(
    ("examples", "names"),
    [
        (PAIRS, ("row", "prompt_ids", "completion_ids")),
        (LABELLED, ("row", "prompt_ids", "completion_ids", "mismatched_ids", "labels")),
    ],
    ids=["pairs", "labelled"],
)
def test_rows_are_read_one_by_one_and_a_batch_at_once(examples: list[TokenizedExample], names: tuple[str]) -> None:
    dataset = stored(examples, *names)

    assert len(dataset) == 2
    assert [dataset[0], dataset[1]] == examples
    assert dataset.__getitems__([1, 0, 1]) == [examples[1], examples[0], examples[1]]
