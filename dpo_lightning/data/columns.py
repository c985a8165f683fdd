"""What a row says of its pair besides the texts: a margin, a probability, a weight."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, cast

from dpo_lightning.batch import PairColumns
from dpo_lightning.errors import InputError

_LARGEST = 3.4028234e38  # of float32, which a batch holds

_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "margin": (lambda value: True, ""),
    "probability": (lambda value: 0 <= value <= 1, "a probability is between 0 and 1"),
    "weight": (lambda value: value >= 0, "a weight is 0 or greater"),
}


def columns_named(row_format: object) -> frozenset[str]:
    """Which of margin, probability and weight the format finds in a row."""
    return frozenset(name for name in PairColumns._fields if getattr(row_format, name, None) is not None)


def read_columns(row_format: object, row: Mapping[str, Any]) -> dict[str, float]:
    """Values of the named columns.

    Raises:
        InputError: naming the field, for what is no finite number, or not in the range of its kind.
    """
    return {name: _read(row, name, getattr(row_format, name)) for name in sorted(columns_named(row_format))}


def check_column_names(row_format: object) -> None:
    """Check what a format names.

    Raises:
        InputError: for a margin of other than one or two columns.
    """
    margin = getattr(row_format, "margin", None)
    if margin is not None and not isinstance(margin, str) and len(margin) != 2:
        raise InputError(f"RowFormat.margin: name one column, or two whose difference it is, got {margin}")


def check_columns_read(row_format: object, module: object, *, predicting: bool) -> None:
    """Ask the module for ``columns_read() -> set of names``, where it has one, and compare with what the format names.

    Rewards, all that a prediction has, need no column.

    Raises:
        InputError: for a column that the loss reads and nobody named, and for one that is named and not read.
    """
    ask = getattr(module, "columns_read", None)
    if ask is None:
        return
    read, named = ask(), columns_named(row_format)
    for name in sorted(read - named):
        if not predicting:
            raise InputError(f"the objective reads the {name} of each row: name its column in data.format.{name}")
    for name in sorted(named - read):
        raise InputError(f"data.format.{name}: the objective does not read it: leave it out, or take one that does")


def required(row: Mapping[str, Any], name: str) -> Any:
    """The value of a column.

    Raises:
        InputError: naming the field, when it is missing or null.
    """
    if name not in row:
        raise InputError(f"no column `{name}`; the columns are {', '.join(f'`{column}`' for column in row)}")
    if row[name] is None:
        raise InputError(f"field `{name}`: null")
    return row[name]


def _read(row: Mapping[str, Any], kind: str, source: str | list[str]) -> float:
    if not isinstance(source, str):
        chosen, rejected = (_number(row, name) for name in source)
        return chosen - rejected
    value = _number(row, source)
    fits, rule = _RANGES[kind]
    if not fits(value):
        raise InputError(f"field `{source}`: {value:g}, but {rule}")
    return value


def _number(row: Mapping[str, Any], name: str) -> float:
    value = required(row, name)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"field `{name}`: {type(value).__name__}, not a number")
    number = float(cast(float, value))
    if math.isnan(number) or abs(number) > _LARGEST:
        raise InputError(f"field `{name}`: {number} is no finite number")
    return number
