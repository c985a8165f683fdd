"""Results that are kept beside rows: found again for the same rows, and for no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from datasets import Dataset

from dpo_lightning.data.content_hash import content_hash, index_rows
from dpo_lightning.data.kept_beside import kept_beside
from tests.data.common import ready, rows, write


def never() -> Any:
    raise AssertionError("computed again")


@pytest.fixture
def stored(tmp_path: Path) -> Dataset:
    Dataset.from_dict({"a": [1, 2, 3]}).save_to_disk(tmp_path / "rows")
    return datasets.load_from_disk(str(tmp_path / "rows"))


def kept(rows: Dataset) -> list[int]:
    return kept_beside(rows, "sums", lambda: np.asarray(rows["a"][:])).tolist()


def test_it_is_computed_once(stored):
    assert kept(stored) == [1, 2, 3]
    assert kept_beside(stored, "sums", never).tolist() == [1, 2, 3]


def test_other_rows_and_other_names_are_computed(stored):
    kept(stored)
    assert kept(stored.select([2, 0])) == [3, 1]
    assert kept(stored.select([2, 1])) == [3, 2]
    with pytest.raises(AssertionError, match="computed again"):
        kept_beside(stored, "products", never)


def test_nothing_is_kept_of_rows_in_memory():
    rows = Dataset.from_dict({"a": [1]})
    kept(rows)
    with pytest.raises(AssertionError, match="computed again"):
        kept_beside(rows, "sums", never)


@pytest.mark.parametrize("spoil", [lambda whole: b"", lambda whole: whole[:-3], lambda whole: b"no array"])
def test_a_file_that_cannot_be_read_is_written_anew(stored, spoil):
    kept(stored)
    (file,) = Path(stored.cache_files[0]["filename"]).parent.glob("sums-*.npy")
    file.write_bytes(spoil(file.read_bytes()))
    assert kept(stored) == [1, 2, 3]
    assert kept_beside(stored, "sums", never).tolist() == [1, 2, 3]


def test_an_array_of_another_number_of_rows_is_not_taken(stored):
    kept(stored)
    (file,) = Path(stored.cache_files[0]["filename"]).parent.glob("sums-*.npy")
    np.save(file, np.array([1, 2]))
    assert kept(stored) == [1, 2, 3]


def test_where_nothing_can_be_written_it_is_computed(stored, monkeypatch):
    def full(*_: Any, **__: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "save", full)
    assert kept(stored) == [1, 2, 3]
    assert not [*Path(stored.cache_files[0]["filename"]).parent.glob("*sums-*")]


def test_the_keys_of_rows_are_kept(tmp_path, monkeypatch):
    path = write(tmp_path / "pairs.jsonl", rows())
    first = ready(path).splits["train"]
    keys, content = index_rows(first).keys, content_hash(first)
    monkeypatch.setattr("dpo_lightning.data.content_hash._keys", never)
    again = ready(path).splits["train"]
    assert index_rows(again).keys.tolist() == keys.tolist()
    assert content_hash(again) == content
