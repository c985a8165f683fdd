"""Kinds of arguments, by annotation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Optional, Union

import numpy as np
import pytest

from dpo_lightning.errors import InputError
from dpo_lightning.utils.kinds import (
    annotations_of,
    check_arguments,
    check_kinds,
    in_words,
    members_of,
    takes,
    takes_null,
    takes_text,
)


@pytest.mark.parametrize(
    ("hint", "right", "wrong"),
    [
        (int, (0, -3, np.int64(2)), (True, 1.0, "1", None, [1])),
        (float, (0, 0.5, float("nan"), np.float32(2)), (True, "1", None)),
        (bool, (True, False), (0, 1, "yes", None)),
        (str, ("", "a"), (1, None, ["a"])),
        (Optional[int], (None, 1), (True, 1.5, "1")),
        (Union[int, float], (1, 1.5), (False, "1")),
        (int | None, (None, 1), ("1",)),
        (Literal["a", "b"], ("a",), ("c", None, 1)),
        (list[str], (["a"], ("a",), []), ("a", [1], None)),
        (Sequence[float], ([1, 2.5],), ("1", [None])),
        (dict[str, Any], ({"a": 1},), ([1], "a", None)),
        (Any, (None, 1, "a"), ()),
        (Callable[[int], int], (abs, 1), ()),
    ],
    ids=str,
)
def test_an_annotation_takes_its_kind(hint: Any, right: tuple[Any, ...], wrong: tuple[Any, ...]) -> None:
    assert all(takes(hint, value) for value in right)
    assert not any(takes(hint, value) for value in wrong)


def test_null_is_taken_where_it_is_named() -> None:
    assert all(map(takes_null, (None, Any, Optional[int], int | None)))
    assert not any(map(takes_null, (int, Union[int, str], list[int])))


def test_the_error_names_place_kind_and_value() -> None:
    with pytest.raises(InputError, match=r"^data\.count must be a whole number or null, got True$"):
        check_kinds("data.", {"count": Optional[int]}, {"count": True})
    check_kinds("", {"path": str, "absent": int}, {"path": Path("a"), "other": 1})
    assert in_words(list[str]) == "a list, each text"


class Given:
    def __init__(self, count: int, name: str = "") -> None:
        check_arguments(Given, locals(), "Given.")


def test_arguments_of_a_constructor() -> None:
    Given(1, "a")
    with pytest.raises(InputError, match=r"^Given\.name must be text, got 3$"):
        Given(1, 3)  # type: ignore[arg-type]


def test_annotations_that_cannot_be_found_are_none() -> None:
    def unknown(a: Nowhere) -> None:  # type: ignore[name-defined]  # noqa: F821
        pass

    assert annotations_of(unknown) == {}


def test_an_annotation_takes_a_text_or_would_import_it() -> None:
    assert all(map(takes_text, (str, Optional[str], Any, float, "Optional[str]")))
    assert not any(map(takes_text, (dict, Path.open, Given, list[Given])))
    assert set(members_of(Optional[Union[int, str]])) == {int, str, type(None)}


@pytest.mark.parametrize(
    ("hint", "value", "taken"),
    [
        (dict[str, Any], {1: object()}, True),
        (dict[str, str], {"a": 3}, False),
        (Optional[dict[str, list[int]]], {"a": 1}, False),
        (Optional[dict[str, list[int]]], {"a": [1]}, True),
    ],
)
def test_the_values_of_a_mapping_are_looked_at(hint: Any, value: Any, taken: bool) -> None:
    assert takes(hint, value) == taken
    assert in_words(float | int | None) == in_words(int | float | None) == "a whole number or a number or null"
    assert in_words(dict[str, list[int]]) == "a mapping, each a list, each a whole number"
