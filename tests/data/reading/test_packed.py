"""Packed files, and errors of reading."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from dpo_lightning.data.reading.packed import opened, readable
from dpo_lightning.errors import InputError

CONTENT = b"".join(b"%d\n" % (number * number) for number in range(20_000))


def zstd(content: bytes) -> bytes:
    return pa.compress(content, "zstd", asbytes=True)


packers = pytest.mark.parametrize(
    ("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".zst", zstd)], ids=["gz", "bz2", "zst"]
)


def read(path: Path) -> bytes:
    with readable(path), opened(path) as file:
        return file.read()


@packers
def test_what_is_packed_is_unpacked_whatever_its_name(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    for name in (f"a.jsonl{suffix}", "a.jsonl"):
        (tmp_path / name).write_bytes(pack(CONTENT) + pack(b"more"))
        assert read(tmp_path / name) == CONTENT + b"more"


@packers
@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_damaged_file_is_refused(tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes], damage: str) -> None:
    (tmp_path / f"a{suffix}").write_bytes(pack(CONTENT)[:-20] if damage == "cut" else CONTENT)
    with pytest.raises(InputError, match=rf"a\{suffix}: .*: the file is damaged, or no \{suffix}: take a whole one"):
        read(tmp_path / f"a{suffix}")


def test_progress_is_that_of_the_file_as_it_is(tmp_path: Path) -> None:
    packed, told = gzip.compress(CONTENT), list[int]()
    (tmp_path / "a.gz").write_bytes(packed)
    with opened(tmp_path / "a.gz", told.append) as file:
        file.read()
    assert sum(told) == len(packed)


@pytest.mark.parametrize("before", [3, 50_000])
@packers
def test_the_line_that_is_not_utf_8_is_named(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes], before: int
) -> None:
    content = "éa\n".encode() * before + b"x\xff\n"
    for path, written in ((tmp_path / "a.jsonl", content), (tmp_path / f"b.jsonl{suffix}", pack(content))):
        path.write_bytes(written)
        with (
            pytest.raises(InputError, match=rf"{path}: line {before + 1}: not UTF-8: .* save it as UTF-8"),
            readable(path),
        ):
            read(path).decode()


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone: .*No such file or directory"):
        read(tmp_path / "gone")
