"""Names of rows of several files: the file, and the row's number in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dpo_lightning.data.reading.row_names import RowNames, RowsInFile, rows_between
from dpo_lightning.data.reading.sources import Keys, load_split
from dpo_lightning.errors import InputError
from tests.data.test_split_reader import reader

FILES = [RowsInFile("a", 0, 3), RowsInFile("b", 0, 0), RowsInFile("c", 0, 5)]


def test_each_row_is_named_by_its_file() -> None:
    named = RowNames("a, b, c", FILES)
    assert [named(row) for row in range(8)] == [
        *(f"a, row {row} (from 0)" for row in range(3)),
        *(f"c, row {row} (from 0)" for row in range(5)),
    ]
    assert RowNames("in memory")(7) == "in memory, row 7 (from 0)"


@pytest.mark.parametrize(("start", "stop"), [(0, 8), (2, 4), (3, 3), (4, 8), (1, 2)])
def test_a_slice_keeps_the_numbers_of_its_files(start: int, stop: int) -> None:
    whole, part = RowNames("", FILES), RowNames("", rows_between(FILES, start, stop))
    assert [part(row) for row in range(stop - start)] == [whole(row) for row in range(start, stop)]


def test_a_bad_row_of_a_list_is_named_by_its_file(tmp_path: Path) -> None:
    good = {"prompt": "a", "chosen": "b", "rejected": "c"}
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for path, rows in zip(paths, ([good] * 4, [good, good, {**good, "chosen": 3}]), strict=True):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = [str(path) for path in paths]
    for split in ("train", "train[2:]", "train[:1]+train[5:]"):
        with pytest.raises(InputError, match=rf"^data\.dataset: {paths[1]}, row 2 \(from 0\): field `chosen`"):
            reader().tokenized(source, split, Keys())
    assert load_split(source[0], "train", {}).files == ()
