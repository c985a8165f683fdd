"""Rows of data sets as streams."""

from __future__ import annotations

from datasets import ClassLabel, Dataset, Features, IterableDataset, Json, Value

from dpo_lightning.data.reading.plain import plain_rows
from dpo_lightning.data.streaming.row_streams import DatasetRows, RawRow


def test_a_row_has_its_number_and_its_values():
    raw = RawRow(9, "f.jsonl", 3, {"prompt": "[1]", "tools": "[1]", "none": None}, ("tools", "none"))
    assert raw.named == "f.jsonl, row 3 (from 0)"
    assert raw.columns() == {"prompt": "[1]", "tools": [1], "none": None}


def test_iterable_datasets_give_their_rows_again_and_again():
    given = [{"prompt": f"q{n}", "chosen": [{"role": "user", "content": "007"}]} for n in range(5)]
    stream = DatasetRows(IterableDataset.from_generator(lambda: iter(given)), "the stream")
    for _ in range(2):
        found = [*stream.rows()]
        assert [raw.columns() for raw in found] == given
    assert (found[4].row, found[4].named) == (4, "the stream, row 4 (from 0)")


def test_classes_and_json_are_the_values_of_a_table():
    kinds = Features({"label": ClassLabel(names=["bad", "good"]), "tools": Json(), "prompt": Value("string")})
    table = Dataset.from_dict(
        {"label": [0, 1, -1], "tools": [{"a": 1}, ["b"], None], "prompt": ["1", "{}", None]}, features=kinds
    )
    found = [raw.columns() for raw in DatasetRows(table.to_iterable_dataset(), "the stream").rows()]
    assert found == [*plain_rows(table)]
    assert [row["label"] for row in found] == ["bad", "good", None]
