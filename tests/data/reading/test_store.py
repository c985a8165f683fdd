"""The cache of what was read: keyed by the bytes, whole or not there."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import Value

from dpo_lightning.compat.datasets import fingerprint, json_text
from dpo_lightning.data.reading import json_files
from dpo_lightning.data.reading.exact import Block, block_of
from dpo_lightning.data.reading.json_files import json_blocks
from dpo_lightning.data.reading.options import FileOptions
from dpo_lightning.data.reading.store import ReadFile, read_files
from dpo_lightning.errors import InputError

MIXED: list[dict[str, Any]] = [
    {"a": "x", "b": 1},
    {"a": "y", "b": 2, "c": None},
    {"a": [{"k": 1}], "b": 3},
    {"a": "z", "b": 0.1, "c": True},
    {"a": "\ud800", "d": {}},
]


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def file(path: Path, text: str = "", reader: Callable[..., Any] = json_blocks) -> ReadFile:
    if text:
        path.write_text(text)
    return ReadFile(path, "json", reader)


def read(*files: ReadFile) -> Any:
    return read_files(files, FileOptions(), str(files[0].path.parent / "cache")).rows


def left(path: Path) -> list[str]:
    """What lies in the cache, but for the locks."""
    return sorted(each.name for each in (path / "cache/dpo_lightning").iterdir() if each.suffix != ".lock")


def test_types_that_become_wider_change_no_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_files, "_CHUNK", 1)
    rows = read(file(tmp_path / "a.jsonl", lines(MIXED)))
    assert rows.features == {"a": json_text(), "b": json_text(), "c": Value("bool"), "d": json_text()}
    assert [*rows] == [{name: row.get(name) for name in "abcd"} for row in MIXED]
    assert [type(row["b"]) for row in rows] == [int, int, int, float, type(None)]


def test_files_follow_each_other_whatever_their_columns(tmp_path: Path) -> None:
    rows = read(file(tmp_path / "a.jsonl", lines(MIXED[:2])), file(tmp_path / "b.jsonl", lines(MIXED[2:])))
    assert [row["b"] for row in rows] == [1, 2, 3, 0.1, None]


def test_the_same_bytes_are_read_once_whatever_they_are_called(tmp_path: Path) -> None:
    def never(*args: Any) -> Iterator[Block]:
        raise AssertionError("read again")

    first = read(file(tmp_path / "a.jsonl", lines(MIXED)))
    again = read(file(tmp_path / "b.jsonl", lines(MIXED), never))
    assert fingerprint(first) == fingerprint(again)
    assert [*first] == [*again]


def test_other_bytes_under_the_same_name_size_and_time_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    first = read(file(path, lines([{"a": "x"}])))
    stat = path.stat()
    path.write_text(lines([{"a": "y"}]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    second = read(file(path))
    assert ([*first], [*second]) == ([{"a": "x"}], [{"a": "y"}])
    assert fingerprint(first) != fingerprint(second)


def test_options_and_kinds_are_in_the_key(tmp_path: Path) -> None:
    given = file(tmp_path / "a.jsonl", lines([{"data": [{"a": 1}]}]))
    under = read_files([given], FileOptions(field="data"), str(tmp_path / "cache")).rows
    assert [*under] != [*read(given)]
    assert len(left(tmp_path)) == 2


def test_what_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def breaks(*args: Any) -> Iterator[Block]:
        yield block_of([{"a": 1}])
        raise InputError("broken")

    with pytest.raises(InputError, match="broken"):
        read(file(tmp_path / "a.jsonl", "{}", breaks))
    assert left(tmp_path) == []


def test_a_file_that_changes_under_the_reader_is_refused(tmp_path: Path) -> None:
    def changed(path: Path, *args: Any) -> Iterator[Block]:
        yield block_of([{"a": 1}])
        path.write_text("{ }")

    with pytest.raises(InputError, match=r"a.jsonl: the file has changed while it was read"):
        read(file(tmp_path / "a.jsonl", "{}", changed))
    assert left(tmp_path) == []


def test_of_several_that_ask_at_once_one_reads(tmp_path: Path) -> None:
    reads, found = list[int](), list[Any]()

    def counted(*args: Any) -> Iterator[Block]:
        reads.append(1)
        yield block_of([{"a": 1}])

    given = file(tmp_path / "a.jsonl", "{}", counted)
    threads = [threading.Thread(target=lambda: found.append([*read(given)])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (reads, found) == ([1], [[{"a": 1}]] * 4)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(InputError, match=r"the cache .*/cache/dpo_lightning cannot be written: "):
        read(file(tmp_path / "a.jsonl", "{}"))


def test_tokens_in_the_cache_beside_the_rows_are_none_of_them(tmp_path: Path) -> None:
    given = file(tmp_path / "a.jsonl", lines([{"a": 1}]))
    assert [*read(given).map(lambda row: {"a": row["a"] + 1})] == [{"a": 2}]
    assert [*read(given)] == [{"a": 1}]


def test_a_cache_that_lost_a_file_is_filled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_files, "_CHUNK", 1)
    given = file(tmp_path / "a.jsonl", lines(MIXED))
    before = [*read(given)]
    parts = sorted((tmp_path / "cache").rglob("part-*.arrow"))
    assert len(parts) > 1
    parts[-1].unlink()
    assert [*read(given)] == before
