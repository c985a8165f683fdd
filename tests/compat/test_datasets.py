"""The hash of rows in the cache of `datasets`."""

from __future__ import annotations

from datasets import Dataset

from dpo_lightning.compat.datasets import chosen_rows, fingerprint


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
