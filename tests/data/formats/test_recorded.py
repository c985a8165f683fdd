"""Rows that note what is read of them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from dpo_lightning.data.formats.recorded import Recorded, held, holds, left, note_all, shown_path

ROW: dict[str, Any] = {"a": 1, "b": {"c": 2, "d": [{"e": 3, "f": None}, {"e": 4, "f": 5}]}, "g": "text"}
ALL = {("a",), ("b",), ("b", "c"), ("b", "d"), ("b", "d", "e"), ("b", "d", "f"), ("g",)}
TOP = {("a",), ("b",), ("g",)}


def _keywords(**values: Any) -> dict[str, Any]:
    return values


def read_by(act: Callable[[dict[str, Any]], Any]) -> set[Any]:
    noted: set[Any] = set()
    act(Recorded(ROW, noted))
    return noted


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (lambda row: row["a"], {("a",)}),
        (lambda row: row.get("g"), {("g",)}),
        (lambda row: row.get("missing"), {("missing",)}),
        (lambda row: row.pop("a"), {("a",)}),
        (lambda row: row.setdefault("a", 2), {("a",)}),
        (lambda row: row["b"]["d"][1]["f"], {("b",), ("b", "d"), ("b", "d", "f")}),
        (lambda row: [*row], set()),
        (lambda row: ("a" in row, len(row), [*row.keys()]), set()),
        (lambda row: [*row.items()], TOP),
        (lambda row: [*row.values()], TOP),
        (lambda row: {**row}, TOP),
        (dict, TOP),
        (lambda row: row | {"a": 2}, TOP),
        (lambda row: {"a": 2} | row, TOP),
        (lambda row: row.copy(), TOP),
        (lambda row: _keywords(**row), TOP),
        ("{g} {a}".format_map, {("a",), ("g",)}),
        (json.dumps, ALL),
        (lambda row: json.dumps(row["b"]), {path for path in ALL if path[0] == "b"}),
        (copy.deepcopy, ALL),
        (str, ALL),
        (lambda row: row == {}, ALL),
        (lambda row: note_all(("x", [row], {"y": row})), ALL),
    ],
)
def test_whatever_takes_a_value_is_noted(act: Callable[[dict[str, Any]], Any], expected: set[Any]) -> None:
    assert read_by(act) == expected


def test_it_is_the_row_that_it_stands_for() -> None:
    recorded = Recorded(ROW, set())
    assert recorded == ROW
    assert isinstance(recorded["b"]["d"], list)
    match recorded:
        case {"b": {"c": found}}:
            assert found == 2


@pytest.mark.parametrize("nothing", [None, "", " \n", "[]", " {} ", "null", [], {}, [None], {"x": [""]}])
def test_what_holds_nothing(nothing: Any) -> None:
    assert not holds(nothing)
    assert held({"x": nothing, "y": 0}) == {("y",)}


@pytest.mark.parametrize("something", [0, False, 0.0, "a", [0], {"x": False}])
def test_what_holds_a_value(something: Any) -> None:
    assert holds(something)


def test_values_are_found_by_their_paths() -> None:
    assert held(ROW) == {("a",), ("b", "c"), ("b", "d", "e"), ("b", "d", "f"), ("g",)}


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (set(), ["a", "b", "g"]),
        ({("a",), ("b",), ("g",)}, ["b"]),
        ({("a",), ("b",), ("b", "c")}, ["b.d", "g"]),
        ({("a",), ("b", "c"), ("b", "d"), ("b", "d", "e"), ("g",)}, ["b.d.f"]),
        (ALL, []),
    ],
)
def test_what_is_left_is_named_by_its_outermost_field(read: set[Any], expected: list[str]) -> None:
    assert [*map(shown_path, left(held(ROW), read))] == expected
