"""Ids that are gathered from a table are those that `datasets` reads."""

from __future__ import annotations

import pickle
import random
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, Features, List, Value, concatenate_datasets

from dpo_lightning.data.gathered import IdTable

IDS = List(Value("int32"))
FEATURES = Features(
    {"row": Value("int64"), "prompt_ids": IDS, "completion_ids": List(IDS), "scored": List(List(Value("bool")))}
)


def some_rows(count: int, seed: int = 0) -> Dataset:
    rng = random.Random(seed)

    def ids() -> list[int]:
        return [rng.randrange(128_000) for _ in range(rng.randrange(5))]

    rows = [
        {
            "row": 10 * place,
            "prompt_ids": ids(),
            "completion_ids": [ids() for _ in range(rng.randrange(4))],
            "scored": [] if place % 3 else [[True]],
        }
        for place in range(count)
    ]
    return Dataset.from_list(rows, FEATURES)


def in_a_file(path: Path) -> Dataset:
    some_rows(40).to_parquet(path / "rows.parquet", batch_size=7)
    return Dataset.from_parquet(str(path / "rows.parquet"), cache_dir=str(path), features=FEATURES)


CHOICES = {
    "whole": lambda path: some_rows(40),
    "in chunks": lambda path: concatenate_datasets([some_rows(9), some_rows(1, 1), some_rows(30, 2)]),
    "shuffled": lambda path: concatenate_datasets([some_rows(20), some_rows(20, 1)]).shuffle(seed=1),
    "a slice": lambda path: concatenate_datasets([some_rows(20), some_rows(40, 1)]).select(range(15, 55)),
    "some of some": lambda path: some_rows(80).select(range(3, 80, 2)).select(range(38, -1, -1)),
    "in a file": in_a_file,
}


@pytest.mark.parametrize("choice", CHOICES)
def test_gathered_ids_are_those_of_the_rows(choice: str, tmp_path: Path) -> None:
    rows = CHOICES[choice](tmp_path)
    table = IdTable(rows)
    rng = random.Random(5)
    for _ in range(30):
        indices = [rng.randrange(-len(rows), len(rows)) for _ in range(rng.randrange(1, 12))]
        read = rows[[index % len(rows) for index in indices]]
        prompts, completions = table.lists("prompt_ids", indices), table.nested("completion_ids", indices)
        assert prompts.ids.tolist() == [*chain.from_iterable(read["prompt_ids"])]
        assert prompts.lengths.tolist() == [*map(len, read["prompt_ids"])]
        lists = [*chain.from_iterable(read["completion_ids"])]
        assert completions.ids.tolist() == [*chain.from_iterable(lists)]
        assert completions.lengths.tolist() == [*map(len, lists)]
        assert completions.counts.tolist() == [*map(len, read["completion_ids"])]
        assert {each.dtype for each in (*prompts, *completions)} == {np.dtype(np.int64)}
        assert table.numbers("row", indices) == read["row"]
        assert table.are_empty("scored", indices) is not any(read["scored"])
        assert table.are_empty("mismatched_scored", indices)


def test_a_row_that_is_not_there_is_refused() -> None:
    with pytest.raises(IndexError):
        IdTable(some_rows(3)).lists("prompt_ids", [0, 3])


def test_a_table_is_pickled_as_its_rows(tmp_path: Path) -> None:
    rows = in_a_file(tmp_path)
    table = IdTable(rows)
    expected = table.lists("prompt_ids", [*range(len(rows))]).ids.tolist()
    there = pickle.loads(pickle.dumps(table))
    assert there.lists("prompt_ids", [*range(len(rows))]).ids.tolist() == expected
    assert len(pickle.dumps(table)) == pytest.approx(len(pickle.dumps(rows)), rel=0.1)
