"""Keys of rows: the same wherever the tokens come from, and others when they differ."""

from __future__ import annotations

import datasets
import pytest

from dpo_lightning import TokenizedExample
from dpo_lightning.data.content_hash import content_hash, example_key, index_examples, index_rows
from tests.reference.cache.filling import make_pairs

PAIRS = make_pairs(40)
LABELLED = [
    TokenizedExample.labelled(
        each.row, each.prompt_ids, each.completion_ids[0], each.row % 2 > 0, each.completion_ids[1]
    )
    for each in PAIRS
]
LISTS = [each._replace(completion_ids=[*each.completion_ids, [9], [8, 7]][: each.row % 5]) for each in PAIRS[1:5]]


def test_what_a_row_is_and_nothing_else():
    pair = TokenizedExample.pair(0, [1, 2], [3, 4], [5])
    others = [
        pair._replace(prompt_ids=[1], completion_ids=[[2, 3, 4], [5]]),
        pair._replace(completion_ids=[[3], [4, 5]]),
        pair._replace(completion_ids=[[5], [3, 4]]),
        pair._replace(prompt_ids=[2, 1]),
        pair._replace(completion_ids=[[3, 4], [5], [6]]),
        pair._replace(completion_ids=[[3, 4], [], [5]]),
        pair._replace(completion_ids=[[3], [4], [5]]),
    ]
    assert example_key(pair) == example_key(pair._replace(row=7, columns={"weight": 2.0}))
    assert len({example_key(other) for other in [pair, *others]}) == 8


def test_keys_and_hashes_are_those_of_version_0_1():
    """Computed there as `pair_key(TokenizedPair(0, [1, 2], [3, 4], [5]))`, and as `content_hash` of two rows.

    Checkpoints and caches depend on them. A labelled completion with a mismatched one had the key of a pair, and its
    label was a column `desirable`.
    """
    pair = TokenizedExample.pair(0, [1, 2], [3, 4], [5])
    labelled = TokenizedExample.labelled(0, [1, 2], [3, 4], True, [5])

    assert example_key(pair).hex() == example_key(labelled).hex() == "ee14a61029ce98266352db3276f3027b"
    assert example_key(labelled._replace(mismatched_ids=[])).hex() == "afc398affdca6542969623c6cff263a5"
    pairs = [pair._replace(columns={"margin": 0.5, "weight": 2.0}), TokenizedExample.pair(1, [7], [8], [9, 1])]
    pairs[1] = pairs[1]._replace(columns={"margin": -1.0, "weight": 1.0})
    assert content_hash(rows_of(pairs)) == "bd216ecd6049656bb5c016cc7573c5b2"
    assert (
        content_hash(rows_of([labelled, TokenizedExample.labelled(1, [7], [8], False, [9, 1])]))
        == "a459d8ad491ad6a4c83bf12e8caf76ff"
    )


def rows_of(examples: list[TokenizedExample]) -> datasets.Dataset:
    """As `tokenize_rows` and `with_mismatched` make them."""
    ids = datasets.List(datasets.Value("int32"))
    features = {"row": datasets.Value("int64"), "prompt_ids": ids, "completion_ids": datasets.List(ids)}
    columns = {name: [getattr(each, name) for each in examples] for name in features}
    if any(each.mismatched_ids for each in examples):
        features["mismatched_ids"] = ids
        columns["mismatched_ids"] = [each.mismatched_ids for each in examples]
    mask = datasets.List(datasets.Value("bool"))
    for name, feature in (("scored", datasets.List(mask)), ("mismatched_scored", mask)):
        if any(getattr(each, name) for each in examples):
            features[name] = feature
            columns[name] = [getattr(each, name) for each in examples]
    if examples[0].labels is not None:
        features["labels"] = datasets.List(datasets.Value("bool"))
        columns["labels"] = [each.labels for each in examples]
    for name in examples[0].columns:
        features[name] = datasets.Value("float32")
        columns[name] = [each.columns[name] for each in examples]
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def masked(example: TokenizedExample) -> TokenizedExample:
    """All but the last token of each completion counts."""
    return example._replace(scored=[[True] * (len(ids) - 1) + [len(ids) < 2] for ids in example.completion_ids])


MASKED = [masked(each) if each.row % 2 else each for each in PAIRS]


def test_what_counts_is_part_of_a_key_and_all_that_does_is_not():
    plain, other = PAIRS[0], masked(PAIRS[0])
    every = plain._replace(scored=[[], []])
    assert example_key(plain) != example_key(other)
    assert example_key(every) != example_key(other)


@pytest.mark.parametrize("examples", [PAIRS, LABELLED, LISTS, MASKED], ids=["pairs", "labelled", "lists", "masked"])
def test_the_keys_of_a_dataset_are_those_of_its_examples(examples):
    table = rows_of(examples)
    count = len(examples)
    for order in (range(count), [3, 1, 2], []):
        found = index_rows(table.select(order))
        expected = index_examples([examples[row] for row in order])
        assert found.keys.tolist() == expected.keys.tolist()
        for part in ("tokens", "longest", "sequences", "prompt", "mismatched"):
            assert getattr(found.lengths, part).tolist() == getattr(expected.lengths, part).tolist()
