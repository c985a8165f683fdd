"""Examples in arrays are the examples, and the batches that are made of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import chain

import numpy as np
import pytest

from dpo_lightning.batch import Collate, TokenizedExample, collate_padded, collate_tree, first_completions, parts
from dpo_lightning.batch.rows import ExampleRows, bare
from dpo_lightning.errors import InputError
from tests.batch.oracle import random_examples
from tests.batch.test_parts import said


def in_arrays(examples: Sequence[TokenizedExample]) -> ExampleRows:
    def ids(lists: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
        return np.array([*chain.from_iterable(lists)], dtype=np.int64), np.array([*map(len, lists)])

    return ExampleRows(
        [each.row for each in examples],
        *ids([each.prompt_ids for each in examples]),
        *ids([completion for each in examples for completion in each.completion_ids]),
        np.array([len(each.completion_ids) for each in examples]),
        None if examples[0].labels is None else [each.labels or [] for each in examples],
        {name: [each.columns[name] for each in examples] for name in examples[0].columns},
    )


def plain(rng: random.Random) -> list[TokenizedExample]:
    return [each._replace(mismatched_ids=[], scored=[], mismatched_scored=[]) for each in random_examples(rng)]


@pytest.mark.parametrize(
    "collate",
    [collate_tree, collate_padded, first_completions(collate_tree, 2), first_completions(collate_padded, 4)],
    ids=["tree", "padded", "first two", "first four"],
)
def test_a_batch_of_arrays_is_the_batch_of_lists(collate: Collate) -> None:
    rng = random.Random(0)
    for _ in range(60):
        examples = plain(rng)
        assert said(collate(in_arrays(examples))) == said(collate(examples))


@pytest.mark.parametrize("longest", [0, 3])
@pytest.mark.parametrize("collate", [collate_tree, collate_padded])
def test_long_pieces_make_the_same_batch(collate: Collate, longest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(2)
    several = [plain(rng) for _ in range(40)]
    expected = [said(collate(examples)) for examples in several]
    monkeypatch.setattr(parts, "_LONG", longest)
    assert [said(collate(in_arrays(examples))) for examples in several] == expected
    assert [said(collate(examples)) for examples in several] == expected


def test_arrays_are_a_sequence_of_examples() -> None:
    rng = random.Random(1)
    for _ in range(20):
        examples = plain(rng)
        rows = in_arrays(examples)
        assert [*rows] == examples
        assert (len(rows), rows[-1], rows[:2]) == (len(examples), examples[-1], examples[:2])
        assert [len(each.completion_ids) for each in bare(rows)] == [len(each.completion_ids) for each in examples]
        assert bare(examples) is examples


@pytest.mark.parametrize(
    ("example", "words"),
    [
        (TokenizedExample.pair(4, [], [1], [2]), r"row 4 \(from 0\): the prompt has no tokens"),
        (TokenizedExample(4, [1], []), r"row 4 \(from 0\): the prompt has no completion"),
        (TokenizedExample(4, [1], [[2]], columns={"weight": float("nan")}), r"row 4 .*column `weight`: nan"),
    ],
)
def test_what_is_no_batch_is_refused_by_row(example: TokenizedExample, words: str) -> None:
    with pytest.raises(InputError, match=words):
        collate_tree(in_arrays([example]))
