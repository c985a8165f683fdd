"""The hash of rows in the cache of `datasets`, and columns of any values."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import Dataset, Features, load_from_disk
from tqdm import tqdm

from dpo_lightning.compat.datasets import chosen_rows, fingerprint, json_text, let_bars_go
from tests.helpers.terminal import Screen


def test_rows_have_a_hash_that_follows_their_content() -> None:
    rows = Dataset.from_dict({"a": [1, 2]})
    assert fingerprint(rows) == fingerprint(Dataset.from_dict({"a": [1, 2]}))
    assert fingerprint(rows) != fingerprint(rows.map(lambda row: {"a": row["a"] + 1}))


def test_which_rows_of_its_table_a_dataset_holds() -> None:
    rows = Dataset.from_dict({"a": [1, 2, 3]})
    assert chosen_rows(rows) is None
    chosen = chosen_rows(rows.select([2, 0]))
    assert chosen is not None
    assert chosen.tolist() == [2, 0]


def test_a_column_of_json_text_has_its_values_and_is_known_in_files(tmp_path: Path) -> None:
    values = [0.1234567890123456, {"a": [2**70, None]}, "x", None]
    features = Features({"a": json_text()})
    rows = Dataset.from_dict({"a": values}, features=features)
    rows.save_to_disk(str(tmp_path))
    assert json_text()() == features.arrow_schema.field("a").type
    assert rows["a"][:] == load_from_disk(str(tmp_path))["a"][:] == values
    assert rows.filter(lambda row: row["a"] is not None)["a"][:] == values[:3]


def test_bars_of_rows_go_and_none_are_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import arrow_dataset

    monkeypatch.setattr(arrow_dataset, "hf_tqdm", tqdm)
    let_bars_go()
    assert arrow_dataset.hf_tqdm(total=1).disable is True
    monkeypatch.setattr("sys.stderr", Screen(80))
    shown = arrow_dataset.hf_tqdm(total=1)
    assert (shown.disable, shown.leave) == (False, False)
