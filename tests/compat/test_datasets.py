"""The hash of rows in the cache of `datasets`."""

from __future__ import annotations

from datasets import Dataset

from dpo_lightning.compat.datasets import fingerprint


def test_rows_have_a_hash_that_follows_their_content() -> None:
    rows = Dataset.from_dict({"a": [1, 2]})
    assert fingerprint(rows) == fingerprint(Dataset.from_dict({"a": [1, 2]}))
    assert fingerprint(rows) != fingerprint(rows.map(lambda row: {"a": row["a"] + 1}))
