"""The cache on disk: a directory for each key, read once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dpo_lightning.data.content_hash import index_examples
from dpo_lightning.errors import InputError
from dpo_lightning.reference.cache.shards import write_shard
from dpo_lightning.reference.cache.store import Key, Store, default_cache_dir, stored_keys
from tests.reference.cache.filling import make_pairs

KEYS = index_examples(make_pairs(9)).keys
ROWS = [np.arange(3, dtype=np.float32)] * 9
KEY = Key("abc", "32-true", "some/model", "float32")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path, KEY)
    store.prepare()
    return store


def test_each_shard_is_read_once_and_a_corrupt_one_again_when_it_comes_back(store):
    first = write_shard(store.directory, KEYS[:5], ROWS[:5])
    assert [shard.path for shard in store.scan()] == [first]
    second = write_shard(store.directory, KEYS[5:], ROWS[5:])
    content = second.read_bytes()
    second.write_bytes(content[:-1])
    with pytest.warns(UserWarning, match=f"{second.name} is corrupt .truncated.*: its rows are scored again"):
        assert store.scan() == []
    assert store.scan() == []
    assert write_shard(store.directory, KEYS[5:], ROWS[5:]) == second
    assert [shard.path for shard in store.scan()] == [second]
    assert [shard.path for shard in store.shards] == [first, second]


def test_a_key_says_what_it_is(store, tmp_path):
    ((directory, key, used),) = stored_keys(tmp_path)
    assert (directory, key) == (store.directory, KEY)
    assert used == (directory / "about.json").stat().st_mtime
    assert json.loads((directory / "about.json").read_text()) == KEY._asdict()
    (directory / "about.json").write_text("[]")
    ((_, key, _),) = stored_keys(tmp_path)
    assert key == Key("abc", "32-true", "unknown", "unknown")


def test_what_is_no_key_is_nobodys_business(store, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "file").write_text("words")
    assert [directory.name for directory, _, _ in stored_keys(tmp_path)] == [KEY.name]


def test_a_place_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("words")
    with pytest.raises(InputError, match=r"^reference cache .*: Not a directory: set another cache_dir$"):
        Store(tmp_path / "file", KEY).prepare()


def test_the_default_place(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "dpo_lightning" / "reference"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir() == Path.home() / ".cache/dpo_lightning/reference"
