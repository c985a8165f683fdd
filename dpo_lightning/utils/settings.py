"""Rules for the settings of objects, whose errors name the class and the field by themselves."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import NamedTuple, Optional

from dpo_lightning.errors import InputError
from dpo_lightning.utils.kinds import annotations_of, check_fields, takes
from dpo_lightning.utils.text import one_line


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

    def check(self, name: str, value: object) -> None:
        """Refuse a value outside the range, and what is no number at all.

        Raises:
            InputError: unless the value is in the range; it says the name, the range, the value and the remedy.
        """
        if isinstance(value, bool) or not isinstance(value, Real) or not self.holds(float(value)):
            raise InputError(f"{name} must be {self.range}, got {one_line(repr(value), 80)}{self.remedy}")


POSITIVE = Rule("a finite number greater than 0", lambda value: 0 < value < math.inf)
NOT_NEGATIVE = Rule("a finite number of at least 0", lambda value: 0 <= value < math.inf)
SHARE_OF_FLIPS = Rule("in [0, 0.5)", lambda value: 0 <= value < 0.5)
"""Share of flipped labels; with half of them flipped, labels carry no information."""
MOMENTUM = Rule("in [0, 1)", lambda value: 0 <= value < 1)
"""Share of the past in a running mean; with 1 the mean would stay at the first batch for ever."""
SEED = Rule("from 0 to 4294967295", lambda value: 0 <= value < 2**32)
"""Seeds that numpy takes."""


def at_least(least: int) -> Rule:
    """Make the rule of a count that begins with a number."""
    return Rule(f"at least {least}", lambda value: least <= value < math.inf)


def require(owner: object, place: Optional[str] = None, **rules: Rule) -> None:
    """Check fields of a dataclass: all of them by their annotations, and each of `rules` by its rule.

    Args:
        owner: The object, whose class is named in an error.
        place: What stands for the class in an error, such as `lora`.
        rules: A rule for each field, by the field's name; null passes where the annotation takes it.

    Raises:
        InputError: for the first field of another kind or outside its range, as `Class.field`.
    """
    place = type(owner).__name__ if place is None else place
    check_fields(owner, f"{place}.")
    hints = annotations_of(type(owner))
    for field, rule in rules.items():
        value = getattr(owner, field)
        if value is None and field in hints and takes(hints[field], None):
            continue
        rule.check(f"{place}.{field}", value)


def check_rules(place: str, values: object, **rules: Rule) -> None:
    """Check attributes by their rules; null, which the annotations decide on, passes.

    Raises:
        InputError: for the first outside its range.
    """
    for name, rule in rules.items():
        value = values[name] if isinstance(values, dict) else getattr(values, name)
        if value is not None:
            rule.check(f"{place}{name}", value)
