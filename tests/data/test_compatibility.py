"""Data formats that do not say what their examples are."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning import Compares, Format, RowFormat, UnpairedFormat
from dpo_lightning.data.compatibility import checked_format
from dpo_lightning.errors import InputError
from tests.data.common import data


def own(**attributes: Any) -> Format:
    """A format of one's own."""
    return type("Own", (Format,), {"examples": lambda self, row, quote=str: [], **attributes})()


@pytest.mark.parametrize("given", [RowFormat(), UnpairedFormat(), own(gives=Compares.LABELLED)], ids=str)
def test_a_format_that_says_it_is_taken(given: Format) -> None:
    assert checked_format(given) is given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (RowFormat, r"^data\.format: RowFormat is a class: write RowFormat\(\.\.\.\)$"),
        ({"chosen": "a"}, r"^data\.format: {'chosen': 'a'} is no Format: give RowFormat\(\.\.\.\), Unp"),
        (own(), r"^data\.format Own: gives is None: write `gives = Compares\.PAIRS` or `Compares\.LABELLED`"),
        (own(gives="pairs"), r"^data\.format Own: gives is 'pairs': write `gives = Compares\.PAIRS`"),
        (own(gives=[]), r"^data\.format Own: gives is \[\]: "),
        (own(gives=Compares.CHOSEN), r"^data\.format Own: gives is <Compares\.CHOSEN: .*>: write `gives = Comp"),
    ],
    ids=["class", "mapping", "nothing", "text", "list", "chosen"],
)
def test_another_one_is_refused_where_it_is_given(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        data(format=given)
