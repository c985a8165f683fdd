"""Columns are declared once: every place that needs to know them asks the table."""

from __future__ import annotations

import dataclasses

import pytest

from dpo_lightning import RowFormat
from dpo_lightning.batch import COLUMNS
from dpo_lightning.losses import Reads


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_has_a_place_in_a_row_and_a_flag(name: str) -> None:
    assert name in {field.name for field in dataclasses.fields(RowFormat)}
    assert Reads[name.upper()].columns == {name}
    assert RowFormat(**{name: "x"}).columns_named == {name: "x"}
    assert COLUMNS[name].meaning.endswith(".")
    assert COLUMNS[name].fits(0.5)


def test_content_hashes_take_them_in_this_order() -> None:
    assert [*COLUMNS][:3] == ["margin", "probability", "weight"]


def test_other_flags_read_no_column() -> None:
    assert (Reads.REFERENCE | Reads.BATCH | Reads.LENGTHS).columns == frozenset()
