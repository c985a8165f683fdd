"""Columns are declared once: every place that needs to know them asks the table."""

from __future__ import annotations

import dataclasses
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from dpo_lightning import RowFormat
from dpo_lightning.batch import COLUMNS, Column, Holds, checked_value
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Reads


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_has_a_flag(name: str) -> None:
    assert Reads[name.upper()].columns == {name}
    assert COLUMNS[name].meaning.endswith(".")
    assert COLUMNS[name].fits(0.5)


@pytest.mark.parametrize("name", [name for name, column in COLUMNS.items() if column.holds is Holds.NUMBER])
def test_a_column_of_pairs_has_a_place_in_a_row(name: str) -> None:
    assert name in {field.name for field in dataclasses.fields(RowFormat)}
    assert RowFormat(**{name: "x"}).columns_named == {name: "x"}
    assert RowFormat(**{name: "x"}).columns == {name: COLUMNS[name]}


def test_content_hashes_take_them_in_this_order() -> None:
    assert [*COLUMNS][:3] == ["margin", "probability", "weight"]


def test_other_flags_read_no_column() -> None:
    assert (Reads.REFERENCE | Reads.BATCH | Reads.LENGTHS).columns == frozenset()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (Column("Length."), 0.5),
        (Column.of_completions("Score of a judge."), [0.5, 1.0]),
        (Column.of_text("Source."), "web"),
    ],
    ids=["number", "numbers", "text"],
)
def test_a_column_holds_one_kind_of_value(column: Column, value: Any) -> None:
    assert Holds.of(value) is column.holds
    assert checked_value(value, column.holds, 2, "here") == value
    for other in ({Holds.NUMBER: 1.0, Holds.NUMBERS: [1.0, 1.0], Holds.TEXT: "x"}[holds] for holds in Holds):
        if Holds.of(other) is not column.holds:
            with pytest.raises(InputError, match=rf"^here: {type(other).__name__}, not {column.holds.value}$"):
                checked_value(other, column.holds, 2, "here")


@pytest.mark.parametrize("value", [2**24 + 2, Fraction(1, 3), np.int64(5), np.float32(0.1)], ids=repr)
def test_a_number_is_a_float(value: Any) -> None:
    found = checked_value(value, Holds.NUMBER, 2, "here")

    assert type(found) is float
    assert found == float(value)


@pytest.mark.parametrize(
    ("value", "said"), [(10**400, "inf"), (-(10**400), "-inf"), (Fraction(10**400), "inf")], ids="imr"
)
def test_a_number_beyond_all_floats_is_no_finite_one(value: Any, said: str) -> None:
    for given, holds, place in ((value, Holds.NUMBER, ""), ([value, 1], Holds.NUMBERS, ", completion 0 (from 0)")):
        with pytest.raises(InputError, match=f"^here{re.escape(place)}: {said} is no finite number$"):
            checked_value(given, holds, 2, "here")
