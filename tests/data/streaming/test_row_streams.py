"""Rows of files and data sets as streams."""

from __future__ import annotations

import gzip
import json

import pytest
from datasets import Dataset, IterableDataset, IterableDatasetDict

from dpo_lightning.data.streaming.row_streams import DatasetRows, FileRows, RawRow, open_rows
from dpo_lightning.errors import InputError

ROWS = [{"prompt": f"q{n}", "chosen": "007", "rejected": "2024-01-01"} for n in range(600)]


def lines(rows=ROWS):
    return "".join(json.dumps(row) + "\n\n" for row in rows).encode()


@pytest.fixture(params=["a.jsonl", "a.jsonl.gz", "a.parquet"])
def file(request, tmp_path):
    path = tmp_path / request.param
    if path.suffix == ".parquet":
        Dataset.from_list(ROWS).to_parquet(path)
    else:
        path.write_bytes(gzip.compress(lines()) if path.suffix == ".gz" else b"\xef\xbb\xbf" + lines())
    return path


def test_files_give_their_rows_as_they_stand_again_and_again(file):
    stream = open_rows(str(file), "train", {})
    for _ in range(2):
        found = [*stream.rows()]
        assert [raw.columns() for raw in found] == ROWS
        assert [(raw.row, raw.number) for raw in found] == [(n, n) for n in range(600)]
    assert found[7].named == f"{file}, row 7 (from 0)"
    assert stream.identity == [(file.name, file.stat().st_size)]


def test_several_files_count_on_and_name_their_own_rows(tmp_path):
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for path in paths:
        path.write_bytes(lines(ROWS[:3]))
    last = [*FileRows(paths).rows()][-1]
    assert (last.row, last.named) == (5, f"{paths[1]}, row 2 (from 0)")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"{", "malformed JSON: Expecting"), (b"[1]", "not a JSON object, but"), (b'"\xff"', "malformed JSON: 'utf-8'")],
)
def test_a_bad_row_is_named(content, said):
    with pytest.raises(InputError, match=rf"f\.jsonl, row 3 \(from 0\): {said}"):
        RawRow(9, "f.jsonl", 3, content).columns()


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines())[:-20])
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and more")
    for name in ("a.jsonl.gz", "a.parquet"):
        with pytest.raises(InputError, match=name):
            [*open_rows(tmp_path / name, "train", {}).rows()]


def test_iterable_datasets_give_their_rows():
    given = IterableDataset.from_generator(lambda: iter(ROWS[:5]))
    stream = open_rows(IterableDatasetDict({"dpo": given}), "dpo", {})
    assert isinstance(stream, DatasetRows)
    assert [raw.columns() for raw in stream.rows()] == ROWS[:5]
    assert [*stream.rows()][4].named == "the stream, split dpo, row 4 (from 0)"
    assert len([*open_rows(given, "train", {}).rows()]) == 5


def test_what_does_not_stream_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("prompt\nq\n")
    (tmp_path / "a.jsonl").write_bytes(lines())
    cases = {
        "are in memory: leave data.streaming out": (Dataset.from_list(ROWS), "train", {}),
        "rows stream out of .jsonl, .jsonl.gz and .parquet files": (tmp_path / "a.csv", "train", {}),
        r"is a directory: give a .jsonl or .parquet file": (tmp_path, "train", {}),
        r"train_split 'train\[:3\]': a stream has the splits train, and no slices": (
            tmp_path / "a.jsonl",
            "train[:3]",
            {},
        ),
        "data.load_options: field mean nothing for a file": (tmp_path / "a.jsonl", "train", {"field": "x"}),
        "no such file": (tmp_path / "b.jsonl", "train", {}),
    }
    for said, given in cases.items():
        with pytest.raises(InputError, match=said):
            open_rows(*given)
