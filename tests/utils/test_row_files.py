"""Files of rows that grow on disk."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from dpo_lightning.errors import InputError
from dpo_lightning.utils import row_files
from dpo_lightning.utils.row_files import new_rows, row_file


def test_rows_come_back_from_both_kinds(tmp_path):
    rows = [{"place": 1, "texts": {"prompt": "é"}, "parts": [1.5, 2.5]}, {"place": 2, "texts": {"prompt": "b"}}]
    for name in ("rows.jsonl", "rows.parquet"):
        with new_rows("path", tmp_path / name, {"parts": pa.list_(pa.float32())}) as file:
            file.add(rows[:1])
            file.add(rows[1:])
            assert not (tmp_path / name).exists()
    written = parquet.read_table(tmp_path / "rows.parquet")
    assert written.schema.field("parts").type == pa.list_(pa.float32())
    assert written.to_pylist() == [
        {"place": 1, "texts.prompt": "é", "parts": [1.5, 2.5]},
        {"place": 2, "texts.prompt": "b", "parts": None},
    ]
    assert (tmp_path / "rows.jsonl").read_text().splitlines()[1] == '{"place": 2, "texts": {"prompt": "b"}}'


def test_a_column_that_comes_later_is_null_before_and_groups_are_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(row_files, "_GROUP", 3)
    path = tmp_path / "rows.parquet"
    with new_rows("path", path, {}) as file:
        for place in range(4):
            file.add([{"place": place, "other": [0.5, 1.5]}])
        assert file._rows == []  # nothing of a group that is written is held
        file.add([{"place": 4, "late": {"name": "x"}, "score": 1.0}])
    with parquet.ParquetFile(path) as written:
        assert written.num_row_groups == 5
        found = written.read().to_pylist()
    assert [row["place"] for row in found] == [0, 1, 2, 3, 4]
    assert [row["late.name"] for row in found] == [None] * 4 + ["x"]
    assert [row["other"] for row in found] == [[0.5, 1.5]] * 4 + [None]
    assert [each.name for each in tmp_path.iterdir()] == ["rows.parquet"]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_an_error_leaves_what_was_there(suffix, tmp_path):
    path = tmp_path / f"rows.{suffix}"
    path.write_text("before")

    def broken() -> None:
        with new_rows("path", path, {}) as file:
            file.add([{"place": 1}])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert path.read_text() == "before"
    assert [*tmp_path.iterdir()] == [path]


def test_without_rows_there_is_a_file(tmp_path):
    for suffix in ("jsonl", "parquet"):
        with new_rows("path", tmp_path / f"none.{suffix}", {}):
            pass
    assert parquet.read_table(tmp_path / "none.parquet").num_rows == 0
    assert (tmp_path / "none.jsonl").read_text() == ""


@pytest.mark.parametrize("name", ["rewards.csv", "rewards", "rewards.parquet.gz"])
def test_another_suffix_is_refused(name):
    with pytest.raises(InputError, match=rf"^path: give a name that ends in \.jsonl or \.parquet, got '{name}'$"):
        row_file("path", Path(name))


def test_what_a_killed_process_left_of_the_same_file_goes(tmp_path):
    for name in (".rows.jsonl.999999999.tmp", ".others.jsonl.999999999.tmp", ".rows.jsonl.1.tmp"):
        (tmp_path / name).write_text("half")
    with new_rows("path", tmp_path / "rows.jsonl", {}) as file:
        file.add([{"place": 1}])
    assert {each.name for each in tmp_path.iterdir()} == {
        "rows.jsonl",
        ".others.jsonl.999999999.tmp",
        ".rows.jsonl.1.tmp",
    }
