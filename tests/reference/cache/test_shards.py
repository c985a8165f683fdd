"""Shards are whole or not there, and say so when they are damaged."""

from __future__ import annotations

import multiprocessing
import os
import signal
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpo_lightning.data.content_hash import index_examples
from dpo_lightning.errors import RunError
from dpo_lightning.reference.cache.shards import CorruptShard, check_shard, open_shard, row_count, write_shard
from dpo_lightning.reference.cache.store import shard_paths
from tests.reference.cache.filling import make_pairs

PAIRS = make_pairs(40)
ROWS = [np.arange(sum(map(len, pair.branches)), dtype=np.float32) / 3 for pair in PAIRS]
KEYS = index_examples(PAIRS).keys


def test_what_is_written_is_read(tmp_path):
    path = write_shard(tmp_path, KEYS, ROWS)
    found = check_shard(path)
    assert found.keys.tolist() == KEYS.tolist()
    assert np.array_equal(found.values, np.concatenate(ROWS))
    assert row_count(path) == (len(PAIRS), sum(map(len, ROWS)))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_every_flipped_byte_and_every_cut_is_noticed(tmp_path):
    path = write_shard(tmp_path, KEYS[:3], ROWS[:3])
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with pytest.raises(CorruptShard):
            check_shard(path)
        path.write_bytes(whole[:place])
        with pytest.raises(CorruptShard):
            open_shard(path)


def edited(path: Path, starts: Any) -> Path:
    """A shard whose rows begin elsewhere, with a checksum that is right."""
    shard = open_shard(path)
    content = path.read_bytes()[:24] + shard.keys.tobytes() + starts.tobytes() + shard.values.tobytes()
    path.write_bytes(content + blake2b(content, digest_size=16).digest())
    return path


def test_an_edited_shard_with_a_right_checksum_is_noticed(tmp_path):
    path = write_shard(tmp_path, KEYS[:3], ROWS[:3])
    starts = open_shard(path).starts.copy()
    assert check_shard(edited(path, starts)).keys.tolist() == KEYS[:3].tolist()
    for place, start in ((0, 1), (1, 10**9), (2, -1), (3, 1)):
        with pytest.raises(CorruptShard, match="its rows do not follow each other"):
            check_shard(edited(path, np.where(np.arange(4) == place, start, starts)))


def test_what_is_called_like_a_shard_and_is_no_file_is_left_alone(tmp_path):
    (tmp_path / "directory.shard").mkdir()
    (tmp_path / "link.shard").symlink_to(tmp_path / "nowhere")
    assert shard_paths(tmp_path) == []


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    write_shard(tmp_path, KEYS[:9], ROWS[:9])
    before = sorted(tmp_path.iterdir())

    def full(self: Path, data: bytes) -> None:
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunError, match="No space left on device: the rows before are kept"):
        write_shard(tmp_path, KEYS[9:], ROWS[9:])
    assert sorted(tmp_path.iterdir()) == before


def test_a_shard_of_a_killed_run_is_complete_or_not_there(tmp_path, monkeypatch):
    """A kill between the write and the rename leaves a file that nobody reads."""
    directory = tmp_path / "key"

    def die(self: Path, target: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def write() -> None:
        monkeypatch.setattr(Path, "replace", die)
        write_shard(directory, KEYS, ROWS)

    process = multiprocessing.get_context("fork").Process(target=write)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert len(list(directory.iterdir())) == 1
    assert shard_paths(directory) == []
