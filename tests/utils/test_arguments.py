"""Arguments that are objects of another kind: the line says what to write."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.utils.arguments import wrong_kind


class Kind:
    pass


class Special(Kind):
    pass


def some_function() -> None:
    pass


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Special, "place: Special is a class: write Special(...)"),
        (int, "place: <class 'int'> is no Kind: give one"),
        (some_function, "place: the function some_function is no Kind: give one"),
        ("a\nb", "place: 'a\\nb' is no Kind: give one"),
        (3, "place: 3 is no Kind: give one"),
    ],
)
def test_the_line_names_place_value_and_remedy(given: Any, message: str) -> None:
    assert str(wrong_kind("place", given, Kind, "give one")) == message
