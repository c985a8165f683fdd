"""A source that streams, after a look at its first rows."""

from __future__ import annotations

from datetime import date

import pytest
from datasets import Dataset

from dpo_lightning import RowFormat
from dpo_lightning.data.reading.local_files import files_by_split
from dpo_lightning.data.reading.options import FileOptions
from dpo_lightning.data.streaming.file_rows import FileRows
from dpo_lightning.data.streaming.source import HEAD, StreamSource, as_table
from dpo_lightning.data.streaming.tokens import RowTokenizer
from dpo_lightning.data.tokenize import ExampleTokenizer
from dpo_lightning.data.tokenize.vocabulary import Vocabulary
from dpo_lightning.errors import InputError
from tests.data.common import rows, write
from tests.helpers.tiny import tiny_tokenizer


def made(path, **settings) -> StreamSource:
    encode = ExampleTokenizer(tiny_tokenizer(), 60)
    tokenize = RowTokenizer(RowFormat(), encode, Vocabulary(tiny_tokenizer(), None))
    stream = FileRows(files_by_split(path)["train"], FileOptions())
    return StreamSource(stream, tokenize, "the rows", lambda given, first, place: given, **settings)


def test_a_source_is_known_by_its_first_rows(tmp_path):
    source = made(write(tmp_path / "a.jsonl", rows(HEAD + 9)))
    assert len(source.head) == len(source.taken) == HEAD
    assert source.names == {"prompt", "chosen", "rejected"}
    assert source.tokenize.columns == ("prompt", "chosen", "rejected")
    assert [*source.rows()][-1].named == f"{tmp_path / 'a.jsonl'}, row {HEAD + 8} (from 0)"


def test_rows_of_a_source_with_a_name_say_it(tmp_path):
    source = made(write(tmp_path / "a.jsonl", rows(3)), name="rare")
    assert [raw.source for raw in source.rows(2)] == [2] * 3
    assert [*source.rows()][1].named == f"source rare: {tmp_path / 'a.jsonl'}, row 1 (from 0)"
    assert {each.example.columns["data_source"] for each in source.taken} == {"rare"}
    assert source.content == made(write(tmp_path / "b.jsonl", rows(3))).content


def test_a_source_without_rows_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("prompt,chosen,rejected\n")
    with pytest.raises(InputError, match="the rows: no rows"):
        made(str(tmp_path / "a.csv"))


def test_columns_that_json_has_not_are_looked_at_and_left(tmp_path):
    given = [{**row, "made": date(2024, 1, 2), "seal": b"\xff"} for row in rows(3)]
    Dataset.from_list(given).to_parquet(tmp_path / "a.parquet")
    source = made(str(tmp_path / "a.parquet"))
    assert len(source.taken) == 3
    assert source.head[0].columns() == given[0]
    assert as_table([{"a": 2**70, "b": [b"x"]}, {"a": None}], ["a", "b"])[:] == {
        "a": [2**70, None],
        "b": [["bytes"], None],
    }
