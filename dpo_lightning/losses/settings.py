"""Rules for the settings of objectives, whose errors name the class and the field by themselves."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from dpo_lightning.errors import InputError


class Rule(NamedTuple):
    """A range of numbers that a setting must be in.

    Attributes:
        range: The range in words, as they follow "must be" in an error.
        holds: The test of a value; NaN must fail it.
        remedy: Text that follows the refused value in an error, with its punctuation.
    """

    range: str
    holds: Callable[[float], bool]
    remedy: str = ""

    def check(self, name: str, value: float) -> None:
        """Refuse a value outside the range.

        Raises:
            InputError: unless the value is in the range; it says the name, the range, the value and the remedy.
        """
        if not self.holds(value):
            raise InputError(f"{name} must be {self.range}, got {value}{self.remedy}")


POSITIVE = Rule("a finite number greater than 0", lambda value: 0 < value < math.inf)
NOT_NEGATIVE = Rule("a finite number of at least 0", lambda value: 0 <= value < math.inf)
SHARE_OF_FLIPS = Rule("in [0, 0.5)", lambda value: 0 <= value < 0.5)
"""Share of flipped labels; with half of them flipped, labels carry no information."""
MOMENTUM = Rule("in [0, 1)", lambda value: 0 <= value < 1)
"""Share of the past in a running mean; with 1 the mean would stay at the first batch for ever."""


def require(owner: object, **rules: Rule) -> None:
    """Check fields of an object, each by its rule.

    Args:
        owner: The object, whose class is named in an error.
        rules: A rule for each field, by the field's name.

    Raises:
        InputError: for the first field outside its range, as `Class.field`.
    """
    for field, rule in rules.items():
        rule.check(f"{type(owner).__name__}.{field}", getattr(owner, field))
