"""Columns that data may have beside its texts: what each holds, and those that the losses of this package read.

A further one of the package is an entry in `COLUMNS`, an argument of the format that finds it in a row and, if a loss
reads it, a flag of `Reads` under its name in capitals. One of your own is declared by your format, in
`Format.columns`, and named by the loss that reads it, in `reads_columns`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import Enum
from numbers import Real
from typing import Any, NamedTuple, TypeAlias, Union, cast

from dpo_lightning.errors import InputError

ColumnValue: TypeAlias = Union[float, Sequence[float], str]
"""The value of a column for one example, see `Holds`."""

SOURCE = "data_source"
"""Column of text with the name of the source that a row is of, where several are mixed."""

_LARGEST = 3.4028234e38  # of float32, which a batch holds


class Holds(Enum):
    """Kind of value that a column has for each example; the words are those of messages.

    Attributes:
        NUMBER: A number of the example.
        NUMBERS: A list with a number of each of its completions.
        TEXT: A text, which stays on the host.
    """

    NUMBER = "a number"
    NUMBERS = "a list with a number of each completion"
    TEXT = "text"

    @classmethod
    def of(cls, value: Any) -> Holds:
        """Return the kind of a value; what is neither text nor a list must be a number."""
        if isinstance(value, str):
            return cls.TEXT
        return cls.NUMBERS if isinstance(value, list | tuple) else cls.NUMBER


class Column(NamedTuple):
    """A column of the data: a number of each example, unless made by `of_completions` or `of_text`.

    Numbers are kept as float32, which tells whole ones apart up to 2**24.

    Attributes:
        meaning: What the value says.
        fits: Whether a finite number is in the range.
        rule: The range in words, for a message.
        holds: Kind of the values.
    """

    meaning: str
    fits: Callable[[float], bool] = lambda value: True
    rule: str = ""
    holds: Holds = Holds.NUMBER

    @classmethod
    def of_completions(cls, meaning: str, fits: Callable[[float], bool] = lambda value: True, rule: str = "") -> Column:
        """Make a column with a number of each completion of an example."""
        return cls(meaning, fits, rule, Holds.NUMBERS)

    @classmethod
    def of_text(cls, meaning: str) -> Column:
        """Make a column of text."""
        return cls(meaning, holds=Holds.TEXT)


COLUMNS = {
    "margin": Column("True reward of the chosen completion minus that of the rejected one."),
    "probability": Column(
        "Probability that the chosen completion is the better one.",
        lambda value: 0 <= value <= 1,
        "a probability is between 0 and 1",
    ),
    "weight": Column("Factor of the example's loss.", lambda value: value >= 0, "a weight is 0 or greater"),
    "score": Column.of_completions("Score of each completion, the higher the better; two may have the same."),
    "quantile": Column.of_completions(
        "Share of the reference's own completions whose reward is not greater than that of each completion.",
        lambda value: 0 <= value <= 1,
        "a quantile is between 0 and 1",
    ),
}
"""Columns by name, in the order in which content hashes take them: a new one goes to the end."""


def checked_value(value: Any, holds: Holds, completions: int, place: str) -> ColumnValue:
    """Return the value of a column for an example with so many completions.

    Raises:
        InputError: naming the place, for a value of another kind, a list of another length, and no finite number.
    """
    if holds is Holds.NUMBER:
        return checked_number(value, place)
    if Holds.of(value) is not holds:
        raise InputError(f"{place}: {_kind(value)}, not {holds.value}")
    if holds is Holds.TEXT:
        return cast(str, value)
    if len(value) != completions:
        raise InputError(f"{place}: {len(value)} numbers for {completions} completions")
    return [checked_number(each, f"{place}, completion {number} (from 0)") for number, each in enumerate(value)]


def checked_number(value: Any, place: str) -> float:
    """Return a number as float32 can hold it.

    Raises:
        InputError: naming the place.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"{place}: {_kind(value)}, not a number")
    number = _as_float(value)
    if math.isnan(number) or abs(number) > _LARGEST:
        raise InputError(f"{place}: {number} is no finite number")
    return number


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # an int or a fraction has no largest value
        return math.inf if value > 0 else -math.inf


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__
