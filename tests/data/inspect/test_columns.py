"""Columns by a look at rows: read, left, refused."""

from __future__ import annotations

from datasets import Dataset

from dpo_lightning import RowFormat
from dpo_lightning.data.inspect.columns import columns_of
from tests.data.inspect.common import clean_rows


def test_without_a_tokenizer_columns_are_told_apart():
    rows = Dataset.from_list([{**row, "id": number} for number, row in enumerate(clean_rows(5))])
    found = columns_of(rows, RowFormat(), None)
    assert (found.read, found.counts, found.refused) == (["prompt", "chosen", "rejected"], {"id": 5}, None)


def test_a_name_that_means_something_is_refused_unless_it_is_ignored():
    rows = Dataset.from_list([{**row, "system": "be kind"} for row in clean_rows(5)])
    refused = columns_of(rows, RowFormat(), None).refused
    assert refused is not None
    assert "column `system` (5 of 5 rows)" in refused
    assert columns_of(rows, RowFormat(ignore=["system"]), None).refused is None
