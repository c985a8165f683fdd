"""Rules of settings: the range, and an error that names class and field."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from dpo_lightning.errors import InputError
from dpo_lightning.utils.settings import MOMENTUM, NOT_NEGATIVE, POSITIVE, SHARE_OF_FLIPS, Rule, require


@dataclass(frozen=True)
class Own:
    first: float = 1.0
    second: float = 1.0

    def __post_init__(self) -> None:
        require(self, first=POSITIVE, second=NOT_NEGATIVE)


class Renamed(Own):
    pass


@pytest.mark.parametrize(
    ("rule", "inside", "outside"),
    [
        (POSITIVE, (1e-30, 1e30), (0.0, -1.0, math.inf, math.nan)),
        (NOT_NEGATIVE, (0.0, 1e30), (-1e-30, math.inf, math.nan)),
        (SHARE_OF_FLIPS, (0.0, 0.499), (-0.1, 0.5, math.nan)),
        (MOMENTUM, (0.0, 0.999), (-0.1, 1.0, math.nan)),
    ],
    ids=lambda value: value.range if isinstance(value, Rule) else "",
)
def test_the_range_of_each_rule(rule: Rule, inside: tuple[float, ...], outside: tuple[float, ...]) -> None:
    for value in inside:
        rule.check("value", value)
    for value in outside:
        with pytest.raises(InputError) as refused:
            rule.check("value", value)
        assert str(refused.value) == f"value must be {rule.range}, got {value}"


def test_the_error_names_the_class_and_the_field() -> None:
    assert Own(second=0.0).second == 0
    with pytest.raises(InputError, match=r"^Own\.second must be a finite number of at least 0, got -1\.0$"):
        Own(second=-1.0)
    with pytest.raises(InputError, match=r"^Renamed\.first must be a finite number greater than 0, got 0\.0$"):
        Renamed(first=0.0)


def test_the_first_field_outside_its_range_is_named() -> None:
    with pytest.raises(InputError, match=r"^Own\.first"):
        Own(first=-1.0, second=-1.0)


def test_the_remedy_follows_the_value() -> None:
    rule = Rule("at most 1", lambda value: value <= 1, remedy=": take 1")

    with pytest.raises(InputError, match=r"^Own\.first must be at most 1, got 2\.0: take 1$"):
        require(Own(first=2.0), first=rule)
