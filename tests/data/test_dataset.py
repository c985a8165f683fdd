"""Tokenised rows come back as the examples that they were."""

from __future__ import annotations

import pytest
from datasets import Dataset

from dpo_lightning.batch import TokenizedExample, collate_tree
from dpo_lightning.batch.rows import ExampleRows
from dpo_lightning.data.dataset import ExampleDataset, ExamplesInArrays
from dpo_lightning.data.mixing.epoch_rows import Part

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


def test_pairs_are_read_into_arrays() -> None:
    dataset = stored([*PAIRS, *PAIRS], "row", "prompt_ids", "completion_ids", "scored")
    for places in ([1, 0, 2], [2], [0, 1, 2, 3]):
        found = ExamplesInArrays(dataset).__getitems__(places)
        assert isinstance(found, ExampleRows)
        assert [*found] == dataset.__getitems__(places)
        batch = collate_tree(found)
        assert batch.input_ids.tolist() == collate_tree(dataset.__getitems__(places)).input_ids.tolist()


def test_labels_and_sources_are_read_into_arrays() -> None:
    labelled = [each._replace(mismatched_ids=[]) for each in LABELLED]
    stored_rows = stored(labelled, "row", "prompt_ids", "completion_ids", "labels").rows
    dataset = ExampleDataset(stored_rows, [Part("a", 0, 1, 1), Part("b", 1, 1, 1)])
    found = dataset.in_arrays([1, 0])
    assert [each.labels for each in found] == [[False], [True]]
    assert [*found] == dataset.__getitems__([1, 0])


def test_masks_and_other_completions_are_lists() -> None:
    masked = [each._replace(scored=[[True] * len(ids) for ids in each.completion_ids]) for each in PAIRS]
    of_masks = stored(masked, "row", "prompt_ids", "completion_ids", "scored")
    of_others = stored(LABELLED, "row", "prompt_ids", "completion_ids", "mismatched_ids", "labels")
    assert of_masks.in_arrays([1, 0]) == [masked[1], masked[0]]
    assert of_others.in_arrays([1, 0]) == [LABELLED[1], LABELLED[0]]
    assert [*ExamplesInArrays(of_others)[0].mismatched_ids] == [7]
    assert len(ExamplesInArrays(of_others)) == 2
