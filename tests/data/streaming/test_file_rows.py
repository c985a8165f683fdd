"""Rows of files as streams, held against those of tables."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import os
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from dpo_lightning.data.reading.local_files import files_by_split
from dpo_lightning.data.reading.options import FileOptions
from dpo_lightning.data.reading.sources import load_rows
from dpo_lightning.data.streaming.file_rows import FileRows
from dpo_lightning.errors import InputError

ROWS = [
    {"prompt": f"q{n}", "chosen": "007" if n % 2 else "", "rejected": "2024-01-01", "score": 2**53 + n}
    for n in range(1200)
]
NESTED = [
    {**row, "turns": [{"role": "user", "content": row["prompt"]}], "mixed": n if n % 3 else "1"}
    for n, row in enumerate(ROWS)
]


def stream(source, **options):
    return FileRows(files_by_split(source)["train"], FileOptions(**options))


def lines(rows):
    return "".join(json.dumps(row) + "\n\n" for row in rows).encode()


def arrow(path, rows, new):
    table = pa.Table.from_pylist(rows)
    with new(str(path), table.schema) as file:
        file.write_table(table)


def written_csv(path, separator):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*ROWS[0]], delimiter=separator)
        writer.writeheader()
        writer.writerows(ROWS)


WRITE = {
    "a.jsonl": lambda path: path.write_bytes(b"\xef\xbb\xbf" + lines(NESTED)),
    "a.ndjson.bz2": lambda path: path.write_bytes(bz2.compress(lines(NESTED))),
    "a.jsonl.gz": lambda path: path.write_bytes(gzip.compress(lines(NESTED))),
    "a.json": lambda path: path.write_text(json.dumps(NESTED, indent=1)),
    "a.csv": lambda path: written_csv(path, ","),
    "a.tsv": lambda path: written_csv(path, "\t"),
    "a.parquet": lambda path: Dataset.from_list(ROWS).to_parquet(path),
    "a.arrow": lambda path: arrow(path, ROWS, pa.ipc.new_stream),
    "b.arrow": lambda path: arrow(path, ROWS, pa.ipc.new_file),
}


@pytest.mark.parametrize("name", WRITE)
def test_files_give_the_values_of_a_table_again_and_again(name, tmp_path):
    path = tmp_path / name
    WRITE[name](path)
    rows = stream(str(path))
    table = [*load_rows(str(path), "train", {"cache_dir": str(tmp_path / "cache")})]
    for _ in range(2):
        found = [*rows.rows()]
        assert [{**dict.fromkeys(table[0]), **raw.columns()} for raw in found] == table
        assert [(raw.row, raw.number) for raw in found] == [(n, n) for n in range(1200)]
    assert found[7].named == f"{path}, row 7 (from 0)"
    assert found[1].columns()["chosen"] == "007"


def test_several_files_of_a_pattern_count_on_and_name_their_own_rows(tmp_path):
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(lines(ROWS[:3]))
    for source in (f"{tmp_path}/*.jsonl", [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]):
        last = [*stream(source).rows()][-1]
        assert (last.row, last.named) == (5, f"{tmp_path / 'b.jsonl'}, row 2 (from 0)")


def test_values_are_not_read_before_they_are_asked_for(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines([{"prompt": "q" * 1000}] * 5000) + b"{")
    rows = stream(str(path)).rows()
    assert next(rows).columns() == {"prompt": "q" * 1000}
    with pytest.raises(InputError, match=r"a\.jsonl: line 10001: malformed JSON"):
        list(rows)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines(ROWS))[:-20])
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and more")
    for name in ("a.jsonl.gz", "a.parquet"):
        with pytest.raises(InputError, match=name):
            [*stream(str(tmp_path / name)).rows()]


def test_a_file_is_known_by_its_ends_and_its_size_wherever_it_lies(tmp_path):
    def identity(content, name="a.jsonl", **options):
        (tmp_path / name).write_bytes(content)
        return stream(str(tmp_path / name), **options).identity

    whole = lines([{"prompt": "q" * 1000}] * 500)
    found = [identity(whole), identity(b" " + whole), identity(whole[:-2] + b"  "), identity(whole, encoding="latin-1")]
    assert len({*map(repr, found)}) == 4
    assert identity(whole, "moved.jsonl") == found[0]


def test_what_needs_a_whole_file_is_refused(tmp_path):
    (tmp_path / "a.json").write_text('{"data": []}')
    with pytest.raises(
        InputError, match=r"load_options\.field with data\.streaming: the file would be read as a whole"
    ):
        stream(str(tmp_path / "a.json"), field="data")
    (tmp_path / "a.parquet.gz").write_bytes(gzip.compress(b"PAR1"))
    with pytest.raises(InputError, match=r"a\.parquet\.gz: .* a packed parquet file in parts: unpack it"):
        stream(str(tmp_path / "a.parquet.gz"))


def test_a_file_that_changes_is_noticed(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(ROWS[:3]))
    given = stream(str(path))
    rows = given.rows()
    next(rows)
    path.write_bytes(lines(ROWS[:4]))
    for left in (rows, given.rows()):
        with pytest.raises(InputError, match=r"a\.jsonl: the file has changed since the run began"):
            list(left)


def test_a_file_that_changes_and_has_its_old_time_and_size_is_noticed(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(ROWS[:3]))
    before, given = path.stat(), stream(str(path))
    path.write_bytes(lines(ROWS[:3]).replace(b"007", b"008"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(InputError, match=r"a\.jsonl: the file has changed since the run began"):
        next(given.rows())


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_column_of_another_type_in_each_file_has_the_values_of_the_files(tmp_path, order):
    values = [datetime(2024, 1, 2), "2024-01-02"]
    for number in order:
        pq.write_table(pa.table({"when": [values[number]]}), tmp_path / f"{number}.parquet")
    rows = stream([str(tmp_path / f"{number}.parquet") for number in order]).rows()
    assert [raw.columns()["when"] for raw in rows] == [values[number] for number in order]
