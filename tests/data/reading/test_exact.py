"""Columns keep every value and its type."""

from __future__ import annotations

import datetime
import json
import math
from typing import Any

import pyarrow as pa
import pytest
from datasets import Features, Value

from dpo_lightning.compat.datasets import json_text
from dpo_lightning.data.reading.exact import Block, block_of, block_of_columns, converted, is_json, widened
from dpo_lightning.errors import InputError


def values(block: Block, name: str = "a") -> list[Any]:
    """The values of a column, decoded by hand."""
    found = block.table[name].to_pylist()
    return [None if each is None else json.loads(each) for each in found] if is_json(block.features[name]) else found


def typed(given: list[Any]) -> list[tuple[type, str]]:
    return [(type(each), repr(each)) for each in given]


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (["007", "2024-01-02", None, "\x00\u2028"], "string"),
        ([1, None, -(2**63)], "int64"),
        ([0.1, 1e300, -0.0, math.inf, math.nan], "float64"),
        ([True, None, False], "bool"),
        ([None, None], "null"),
        ([1, 1.0], None),
        ([True, 1], None),
        (["1", 1], None),
        ([2**64, 1], None),
        (["\ud800", "a"], None),
        ([{"a": 1}, {"a": None, "b": [1, "x", {}]}], None),
        ([[], None, ["é"], [["a"], 0.1]], None),
    ],
)
def test_values_stay_what_they_are(given: list[Any], kind: str | None) -> None:
    block = block_of_columns({"a": given})
    assert typed(values(block)) == typed(given)
    assert block.features["a"] == (Value(kind) if kind else json_text())
    assert Features(block.features).arrow_schema.field("a").type == block.table["a"].type


def test_a_field_that_a_row_leaves_out_is_null() -> None:
    block = block_of([{"a": 1}, {"b": "x"}, {}])
    assert block.table.to_pylist() == [{"a": 1, "b": None}, {"a": None, "b": "x"}, {"a": None, "b": None}]


@pytest.mark.parametrize("second", [["x"], [1], [1.5], [True], [None], [[1]], []])
@pytest.mark.parametrize("first", [["y", None], [2], [2.5], [False], [None], [{"k": 1}]])
def test_wider_types_hold_the_values_of_both(first: list[Any], second: list[Any]) -> None:
    blocks = [block_of_columns({"a": first}), block_of_columns({"a": second} if second else {"b": [0]})]
    wider = widened(blocks[0].features, blocks[1].features)
    found = [Block(converted(block, wider), wider) for block in blocks]
    assert typed(values(found[0])) == typed(first)
    assert typed(values(found[1])) == typed(second or [None])


def test_values_that_json_does_not_have_are_not_mixed() -> None:
    day = datetime.date(2024, 1, 2)
    block = Block(pa.table({"a": [day]}), {"a": Value("date32")})
    assert converted(block, {"a": Value("date32")})["a"].to_pylist() == [day]
    with pytest.raises(InputError, match=r"column `a` is of several types, .*date32.* among them"):
        converted(block, {"a": json_text()})
