"""Nested values, and columns of JSON."""

from __future__ import annotations

import pytest

from dpo_lightning.data.formats.paths import at, decoded, required_at
from dpo_lightning.errors import InputError

ROW = {"input": {"messages": [1], "none": None}, "a.b": 2, "text": "x", "null": None}


def test_a_path_leads_into_mappings():
    assert at(ROW, "input.messages") == [1]
    assert at(ROW, "a.b") == 2
    assert [at(ROW, path) for path in ("input.other", "text.x", "other.x", "null")] == [None] * 4


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("input.none", "field `input.none`: `input` has no such field"),
        ("other", "no column `other`; the columns are"),
        ("other.x", "no column `other.x`"),
        ("null", "field `null`: null"),
    ],
)
def test_what_is_not_there_is_named(path, message):
    with pytest.raises(InputError, match=f"^{message}"):
        required_at(ROW, path)


def test_json_is_read_in_the_columns_that_are_named():
    row = {"a": "[1]", "b": "[1]", "c": [2]}

    assert dict(decoded(row, ["a", "c", "other"])) == {"a": [1], "b": "[1]", "c": [2]}
    assert decoded(row, None) is row
    with pytest.raises(InputError, match=r"^field `b`: text that is not JSON: "):
        decoded({"b": "[1"}, ["b"])
