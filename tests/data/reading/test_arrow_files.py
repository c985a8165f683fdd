"""Parquet and Arrow files: the types that they state, and what these stand for."""

from __future__ import annotations

import datetime
import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, Features, Image, Json, List, Value
from pyarrow import parquet

from dpo_lightning.data.reading.arrow_files import arrow_blocks, parquet_blocks
from dpo_lightning.data.reading.options import FileOptions
from dpo_lightning.data.reading.store import ReadFile, read_files
from dpo_lightning.errors import InputError

READERS = {"parquet": parquet_blocks, "stream": arrow_blocks, "file": arrow_blocks}


def write(path: Path, table: pa.Table, kind: str) -> None:
    if kind == "parquet":
        parquet.write_table(table, str(path), row_group_size=2)
        return
    with getattr(pa.ipc, f"new_{kind}")(str(path), table.schema) as file:
        file.write_table(table, 2)


def read(path: Path, kind: str) -> list[dict[str, Any]]:
    return [*read_files([ReadFile(path, kind, READERS[kind])], FileOptions(), str(path.parent / "cache")).rows]


@pytest.fixture(params=[*READERS])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_columns_have_the_values_that_the_file_has(tmp_path: Path, kind: str) -> None:
    day = datetime.datetime(2024, 1, 2)
    columns = {
        "text": pa.array(["007", None, "x"]),
        "large": pa.array(["a", "b", "c"], pa.large_string()),
        "number": pa.array([1, 2, None], pa.int8()),
        "day": pa.array([day, None, day], pa.timestamp("us")),
        "words": pa.array(["u", "v", "u"]).dictionary_encode(),
        "none": pa.nulls(3),
        "map": pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int64())),
        "deep": pa.array([[{"m": [("k", "v")]}], [], None], pa.list_(pa.struct({"m": pa.map_("string", "string")}))),
        "messages": pa.array([[{"role": "user", "content": "q"}], [], None]),
    }
    table = pa.table(columns)
    write(tmp_path / "rows", table, kind)
    expected = {name: column.to_pylist(maps_as_pydicts="strict") for name, column in columns.items()}
    assert read(tmp_path / "rows", kind) == [
        {name: values[row] for name, values in expected.items()} for row in range(3)
    ]


def test_classes_have_their_names_and_json_its_values(tmp_path: Path, kind: str) -> None:
    label = ClassLabel(names=["bad", "good"])
    features = Features({"label": label, "labels": List(label), "json": Json(), "text": Value("string")})
    rows = [
        {"label": 1, "labels": [0, 1], "json": '[0.1234567890123456, {"a": 1}]', "text": "x"},
        {"label": -1, "labels": [], "json": None, "text": None},
        {"label": None, "labels": None, "json": '"z"', "text": "y"},
    ]
    write(tmp_path / "rows", Dataset.from_list(rows, features=features).data.table, kind)
    assert read(tmp_path / "rows", kind) == [
        {**rows[0], "label": "good", "labels": ["bad", "good"], "json": [0.1234567890123456, {"a": 1}]},
        {**rows[1], "label": None},
        {**rows[2], "json": "z"},
    ]


def test_a_map_whose_values_json_does_not_have_is_named(tmp_path: Path, kind: str) -> None:
    times = pa.array([[("a", datetime.date(2024, 1, 2))]], pa.map_(pa.string(), pa.date32()))
    write(tmp_path / "rows", pa.table({"times": times}), kind)
    with pytest.raises(InputError, match=r"column `times` of type map<string, date32.*> cannot be read: "):
        read(tmp_path / "rows", kind)


def test_a_packed_file(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "rows", pa.table({"a": ["x"]}), kind)
    (tmp_path / "rows.gz").write_bytes(gzip.compress((tmp_path / "rows").read_bytes()))
    assert read(tmp_path / "rows.gz", kind) == [{"a": "x"}]


def test_a_file_without_rows_and_a_damaged_one(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "rows", pa.table({"a": pa.array([], pa.string())}), kind)
    assert read(tmp_path / "rows", kind) == []
    (tmp_path / "cut").write_bytes((tmp_path / "rows").read_bytes()[:40])
    with pytest.raises(InputError, match=r"cut: cannot be loaded: "):
        read(tmp_path / "cut", kind)


def test_names_that_are_there_twice_and_damaged_texts_are_named(tmp_path: Path) -> None:
    twins = pa.StructArray.from_arrays([pa.array(["x"]), pa.array(["y"])], ["b", "b"])
    offsets = pa.py_buffer(b"\x00\0\0\0\x01\0\0\0\x02\0\0\0")
    keys = pa.array([[("k", "1"), ("k", "2")]], pa.map_(pa.string(), pa.string()))
    cases = {
        "two of the columns are called `a`": pa.Table.from_arrays([pa.array(["x"]), pa.array(["y"])], ["a", "a"]),
        "two in column `a` are called `b`": pa.table({"a": twins}),
        r"rows 0 to 1 \(from 0\): column `a` is damaged: .*UTF8": pa.table(
            {"a": pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"a\xe9")])}
        ),
        r"rows 0 to 0 \(from 0\): column `a` of type map.* cannot be read: .*duplicate": pa.table({"a": keys}),
    }
    for said, table in cases.items():
        write(tmp_path / "rows", table, "stream")
        with pytest.raises(InputError, match=f"rows: {said}"):
            read(tmp_path / "rows", "stream")


def test_pictures_stay_bytes(tmp_path: Path, kind: str) -> None:
    rows = [{"picture": {"bytes": b"no picture", "path": None}, "pictures": []}]
    table = Dataset.from_list(rows, features=Features({"picture": Image(), "pictures": List(Image())})).data.table
    write(tmp_path / "rows", table, kind)
    assert read(tmp_path / "rows", kind) == rows
