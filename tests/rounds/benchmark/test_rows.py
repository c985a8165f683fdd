"""Rows of benchmarks, in the shapes that they have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from dpo_lightning.errors import InputError
from dpo_lightning.rounds.benchmark.rows import read_benchmark

PAIR = {"prompt": "2 + 2?", "chosen": "4", "rejected": "5", "subset": "math", "id": 7, "chosen_model": "m"}
LISTS = {"prompt": "red?", "chosen": ["rose", "blood"], "rejected": ["sky"], "num_correct": 2, "subset": "Ties"}
USER, YES, NO = (
    {"role": role, "content": text} for role, text in (("user", "hi"), ("assistant", "yes"), ("assistant", "no"))
)


def written(path: Path, *rows: Any) -> str:
    file = path / "bench.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def test_pairs_of_text_keep_subset_and_id(tmp_path):
    told: list[str] = []
    found = read_benchmark(written(tmp_path, PAIR), "train", told.append)
    assert (found.rows[0][1].prompt, found.rows[0][1].completions) == ("2 + 2?", ["4", "5"])
    assert found.rows[0][1].beside == {"right": 1, "subset": "math", "id": 7}
    assert found.has_subsets
    assert "read as pairs" in told[0]
    assert found.as_messages().rows[0][1].prompt == [{"role": "user", "content": "2 + 2?"}]
    assert found.content != found.as_messages().content


@pytest.mark.parametrize("suffix", ["json", "parquet"])
def test_lists_of_right_and_wrong_in_other_files(suffix, tmp_path):
    table, path = Dataset.from_list([LISTS, {**LISTS, "chosen": ["rose"], "num_correct": 1}]), tmp_path / f"b.{suffix}"
    table.to_parquet(path) if suffix == "parquet" else path.write_text(json.dumps(table.to_list()))
    rows = [row for _, row in read_benchmark(str(path), "train", str).rows]
    assert [(row.completions, row.beside["right"]) for row in rows] == [
        (["rose", "blood", "sky"], 2),
        (["rose", "sky"], 1),
    ]


def test_messages_with_the_prompt_inside_and_rows_without_a_preference(tmp_path):
    talk = {"chosen": [USER, YES], "rejected": [USER, NO]}
    found = read_benchmark(written(tmp_path, talk), "train", str)
    assert (found.rows[0][1].prompt, found.rows[0][1].completions) == ([USER], ["yes", "no"])
    assert found.rows[0][1].beside["subset"] == "all"
    assert not found.has_subsets
    tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    called = read_benchmark(written(tmp_path, {**talk, "tools": tools}), "train", str)
    assert called.rows[0][1].beside["tools"] == tools  # a scorer's chat template reads them
    compared = {"prompt": "p", "response_a": "x", "response_b": "y"}
    rows = ({**compared, "winner": winner} for winner in ("model_b", "tie"))
    left = read_benchmark(written(tmp_path, *rows), "train", str)
    assert (left.rows[0][1].completions, left.left_out) == (["y", "x"], 1)


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([PAIR, {**PAIR, "subset": None}], "subset: 1 of 2 rows have none"),
        ([{**PAIR, "subset": 3}], "subset: give a name, got 3"),
        ([LISTS, {**LISTS, "rejected": []}], "rejected: give a list of texts"),
        ([LISTS, {**LISTS, "chosen": "rose"}], "chosen: "),
        ([{**LISTS, "num_correct": 1}], "num_correct: 1, and there are 2"),
        ([{**LISTS, "total_completions": 4}], "total_completions: 4, and there are 3"),
        ([{**LISTS, "prompt": ""}], "prompt: give a text or a list of messages"),
        ([PAIR, {**PAIR, "chosen": None}], "row 1 (from 0)"),
        ([{"prompt": "p", "completion": "x", "label": True}], "LabelledPairs|gives no pairs|no pairs"),
        ([{"prompt": "p"}], "are of no known format"),
        ([{"chosen": [USER, YES, USER, YES], "rejected": [USER, NO, USER, NO]}], "a scorer reads one answer of text"),
    ],
)
def test_what_is_no_row_of_a_benchmark(rows, line, tmp_path):
    with pytest.raises(InputError) as caught:
        read_benchmark(written(tmp_path, *rows), "train", str)
    assert any(each in str(caught.value) for each in line.split("|"))
    assert len(str(caught.value).splitlines()) == 1
    assert "data." not in str(caught.value).replace("data.format", "")


def test_sources_and_splits_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match=r"^evaluate nowhere\.jsonl: "):
        read_benchmark("nowhere.jsonl", "train", str)
    with pytest.raises(InputError, match=r"evaluate --split: .*split 'test'"):
        read_benchmark(written(tmp_path, PAIR), "test", str)
