"""Files and directories that are whole or not there."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import pytest

from dpo_lightning.errors import InputError
from dpo_lightning.utils.files import (
    check_writable,
    content_of,
    from_here,
    remove_directory,
    remove_leftovers,
    replaced,
    temporary_name,
)


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_the_old_one_stays_until_the_new_one_is_complete(tmp_path, kind):
    path = tmp_path / "out"

    def write(place, text):
        if kind == "file":
            place.write_text(text)
        else:
            place.mkdir()
            (place / "text").write_text(text)

    def read():
        return (path if kind == "file" else path / "text").read_text()

    with replaced(path) as temporary:
        write(temporary, "first")
        assert not path.exists()
    with replaced(path) as temporary:
        write(temporary, "second")
        assert read() == "first"
    with suppress(ValueError), replaced(path) as temporary:
        write(temporary, "third")
        raise ValueError
    assert read() == "second"
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_is_replaced_only_when_all_of_it_is_on_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    with replaced(tmp_path / "out") as temporary:
        (temporary / "deep").mkdir(parents=True)
        (temporary / "deep/text").write_text("")
    names = [path.removeprefix(f"{tmp_path}/").replace(temporary.name, "out") for path in synced]
    assert names == ["out/deep/text", "out/deep", "out", str(tmp_path)]


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    gone, parent = dead_pid(), os.getppid()
    (tmp_path / f".a.ckpt.{gone}.tmp").write_text("")
    (tmp_path / f".b.ckpt.{gone}.tmp").mkdir()
    (tmp_path / f".b.ckpt.{gone}.tmp" / "shard").write_text("")
    temporary_name(tmp_path / "c.ckpt").write_text("an earlier process of this number: this one has not begun")
    kept = [tmp_path / f".d.ckpt.{parent}.tmp", tmp_path / ".hidden", tmp_path / "e.tmp", tmp_path / f"f.{gone}.tmp"]
    for path in kept:
        path.write_text("")
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_what_was_moved_away_comes_back_where_the_new_one_never_arrived(tmp_path):
    gone = dead_pid()
    for name in ("a", "b"):
        (tmp_path / f".{name}.{gone}.old").mkdir()
        (tmp_path / f".{name}.{gone}.old" / "old").write_text("")
    (tmp_path / "b").mkdir()
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert (tmp_path / "a/old").exists()
    assert not list((tmp_path / "b").iterdir())


def test_a_removed_directory_is_gone(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    remove_directory(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "disk/out").mkdir(parents=True)
    (tmp_path / "disk/a.txt").write_text("old")
    for name in ("out", "a.txt"):
        (tmp_path / name).symlink_to(tmp_path / "disk" / name)
    with replaced(tmp_path / "out") as new:
        new.mkdir()
        (new / "b.txt").write_text("new")
    with replaced(tmp_path / "a.txt") as new:
        new.write_text("new")
    assert (tmp_path / "disk/out/b.txt").read_text() == (tmp_path / "disk/a.txt").read_text() == "new"
    remove_directory(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "disk"]
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["a.txt", "out"]


def test_a_file_does_not_take_the_place_of_a_directory(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/precious").write_text("words")
    with (
        pytest.raises(InputError, match=r"a cannot be written: there is a directory"),
        replaced(tmp_path / "a") as path,
    ):
        path.write_text("new")
    with pytest.raises(
        InputError, match=r"^place: '.*a' cannot be written: it is a directory: give the path of a file"
    ):
        check_writable("place", tmp_path / "a", directory=False)
    assert [each.name for each in tmp_path.rglob("*")] == ["a", "precious"]


def test_a_path_without_a_name_is_refused():
    with pytest.raises(InputError, match=r"^'\.' is no name of a file"), replaced(""):
        pass
    with pytest.raises(InputError, match=r"^place: '' cannot be written: it is a directory"):
        check_writable("place", "", directory=False)


def test_a_path_is_told_as_it_may_be_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert from_here(tmp_path / "a" / "b") == os.path.join("a", "b")
    assert from_here("a") == "a"
    assert from_here(tmp_path.parent / "other") == str(tmp_path.parent / "other")


def test_content_is_that_of_the_bytes_however_many(tmp_path: Path) -> None:
    whole = bytes(range(256)) * 5000  # more than one piece
    (tmp_path / "file").write_bytes(whole)
    assert content_of(tmp_path / "file") == blake2b(whole, digest_size=16).hexdigest()
    assert content_of(tmp_path / "file") != content_of(__file__)
