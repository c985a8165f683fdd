"""The whole form of an argument is read by torch without code, and makes the argument again."""

from __future__ import annotations

import io
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum
from fractions import Fraction
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Optional
from uuid import UUID

import numpy as np
import pytest
import torch
from torch import nn

from dpo_lightning.checkpoints.plain_form import NoPlainForm
from dpo_lightning.checkpoints.whole_form import classes_named, is_same, opened, restored, shown, whole_form
from dpo_lightning.errors import InputError


class Colour(Enum):
    RED = "red"
    SIZES = (1, 2)


class Level(IntEnum):
    HIGH = 3


class Rights(Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    colour: Colour = Colour.RED


@dataclass(frozen=True)
class Settings:
    """Has a field that it makes itself."""

    colour: Colour
    where: Optional[Path] = None
    twice: int = field(default=0, init=False)


@dataclass
class Own:
    """Has a constructor of its own."""

    x: int

    def __init__(self, y: int) -> None:
        self.x = y


WHOLE = [
    *(None, True, 2**70, float("nan"), "null", b"ab", 1j, torch.bfloat16, torch.device("cpu"), torch.Size([1, 2])),
    *([(1, [2])], {(1, 2): {3}}, frozenset({"a"}), OrderedDict(b=1, a=(2,)), Counter("aab")),
    *(Path("a/b"), PurePosixPath("c"), date(2020, 1, 2), datetime(2020, 1, 2, 3, tzinfo=timezone.utc), time(1, 2)),
    *(timedelta(days=-1, microseconds=3), Decimal("0.10"), Fraction(1, 3), UUID(int=5)),
    *(Colour.RED, Colour.SIZES, Level.HIGH, Rights.READ | Rights.WRITE, Point(1), Settings(Colour.RED, Path("d"))),
    *(np.float32(0.5), np.int64(5), np.array([1.0, np.nan]), torch.tensor([1.0, float("nan")]), torch.tensor(True)),
]


@pytest.mark.parametrize("value", WHOLE, ids=lambda value: type(value).__name__)
def test_it_comes_back_as_what_it_was(value: Any) -> None:
    file = io.BytesIO()
    torch.save(whole_form(value), file)
    file.seek(0)
    again = restored(torch.load(file, weights_only=True))
    assert type(again) is type(value)
    assert is_same(again, value)


@pytest.mark.parametrize(
    "value",
    [
        *(
            print,
            partial(int, base=2),
            Colour,
            nn.Identity(),
            object(),
            Own(1),
            range(3),
            {1: [print]},
            (nn.Identity(),),
        ),
        *(torch.zeros(2, requires_grad=True), torch.zeros(200_000), np.array(["a"]), np.datetime64("2020-01-01")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_code_objects_and_weights_have_none(value: Any) -> None:
    with pytest.raises(NoPlainForm):
        whole_form(value)


def test_a_class_that_nothing_finds_has_none() -> None:
    class Inside(Enum):
        ONE = 1

    with pytest.raises(NoPlainForm) as found:
        whole_form(Inside.ONE)
    assert found.value.whole == "Inside, whose class is not at the top of a file"


@pytest.mark.parametrize(
    "form",
    [("enum", "os", "system", ("is", "true")), ("dataclass", "subprocess", "Popen", {}), ("enum", "not_there", "A", 1)],
)
def test_it_calls_and_imports_nothing_else(form: Any) -> None:
    with pytest.raises(
        InputError, match=rf"^{form[1]}.{form[2]} is no such class, or was not imported: import {form[1]} first"
    ):
        restored(form)


@pytest.mark.parametrize("form", [3, ("unknown", 1), ("date", "no date"), ("enum", __name__, "Colour", ("is", "blue"))])
def test_what_is_no_whole_form_is_one_line(form: Any) -> None:
    with pytest.raises(InputError, match=r"^its whole form .* is none: "):
        restored(form)


def test_a_class_that_the_constructor_names_counts_wherever_it_is_now() -> None:
    assert restored(("enum", "__main__", "Colour", ("is", "red")), classes_named(Optional[Settings])) is Colour.RED


@pytest.mark.parametrize(
    ("one", "other"), [((1,), [1]), (True, 1), ("1", 1), (Level.HIGH, 3), (np.int64(1), 1), ({1}, [1])]
)
def test_values_of_other_kinds_are_not_the_same(one: Any, other: Any) -> None:
    assert not is_same(one, other)
    assert is_same(one, one)
    assert is_same(1, 1.0)


def test_people_read_it_as_text() -> None:
    assert shown({"a": {3, 1}, "b": (Fraction(1, 3), 2)}) == {"a": ["1", "3"], "b": ["Fraction(1, 3)", 2]}
    assert opened((Settings(Colour.RED),)) == [{"colour": Colour.RED, "where": None, "twice": 0}]
