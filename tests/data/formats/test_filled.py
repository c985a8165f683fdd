"""Values found and counted by Arrow, against the same found row by row."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, Features, Json, List, Value, load_dataset

from dpo_lightning.data.formats import filled
from dpo_lightning.data.formats.filled import count, fields_of, first
from dpo_lightning.data.formats.recorded import held

NOTHING = [None, "", " ", "[]", "null"]


def random_rows(number: int, seed: int) -> list[dict[str, Any]]:
    draw = random.Random(seed)

    def text() -> Any:
        return draw.choice([*NOTHING, "x", "a longer text of the data"])

    return [
        {
            "text": text(),
            "number": draw.choice([None, 0, 3]),
            "struct": draw.choice([None, {"a": text(), "b": {"c": draw.choice([None, False])}}]),
            "list": draw.choice([None, [], [None], ["", "x"]]),
            "messages": draw.choice([None, [{"role": "user", "name": text(), "parts": [{"text": text()}] * 2}] * 2]),
        }
        for _ in range(number)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_counts_are_those_of_the_rows(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filled, "_BLOCK", 7)
    data = random_rows(40, seed)
    rows = Dataset.from_list(data).select([*range(3, 40)][::-1])
    data = data[3:][::-1]
    paths = [("text",), ("number",), ("struct", "a"), ("struct", "b", "c"), ("list",), ("messages", "name")]
    paths += [("messages", "parts", "text"), ("messages", "role")]
    assert {*fields_of(rows)} == {*paths}
    for path in paths:
        with_value = [index for index, row in enumerate(data) if path in held(row)]
        assert count(rows, [path]) == len(with_value)
        assert first(rows, path, 3) == with_value[:3]
    either = [row for row in data if {("text",), ("number",)} & held(row)]
    assert count(rows, [("text",), ("number",)]) == len(either)
    inside = [row for row in data if any(path[0] == "struct" for path in held(row))]
    assert count(rows, [("struct",)]) == len(inside)
    assert count(rows, []) == 0


def test_json_is_searched_for_its_keys(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    mixed = [{"m": {"a": 1}}, {"m": {"a": "text", "b": 2}}, {"m": {"c": [1]}}]
    file.write_text("".join(json.dumps(row) + "\n" for row in mixed))
    rows = load_dataset("json", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    assert [count(rows, [("m", name)]) for name in "abc"] == [2, 1, 1]
    assert count(rows, [("m",)]) == 3


def test_json_in_lists_is_searched_too() -> None:
    features = Features({"m": List(Json()), "t": Value("large_string")})
    rows = Dataset.from_dict({"m": [[{"a": 1}, {"b": 2}], [], [{"b": [1]}]], "t": ["", "x", None]}, features=features)
    assert [count(rows, [("m", name)]) for name in "ab"] == [1, 2]
    assert first(rows, ("t",), 5) == [1]


def test_columns_without_any_value_have_no_fields() -> None:
    rows = Dataset.from_list([{"none": None, "lists": [], "text": "x"}] * 3)
    assert fields_of(rows) == [("text",)]
    assert count(rows, [("none",)]) == count(rows, [("lists",)]) == 0
