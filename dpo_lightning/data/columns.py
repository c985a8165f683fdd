"""Columns of numbers in a row of the source data, read and checked; `dpo_lightning.batch.columns` declares them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, TypeAlias, Union, cast

from dpo_lightning.batch import COLUMNS
from dpo_lightning.errors import InputError

ColumnSource: TypeAlias = Union[str, list[str]]  # a column, or two whose difference counts

_LARGEST = 3.4028234e38  # of float32, which a batch holds


def read_columns(named: Mapping[str, ColumnSource], row: Mapping[str, Any]) -> dict[str, float]:
    """Return the values of the columns that are named, see `COLUMNS`.

    Raises:
        InputError: naming the field, for what is no finite number, or not in the range of its kind.
    """
    return {name: _read(row, name, source) for name, source in named.items()}


def check_margin(margin: ColumnSource | None) -> None:
    """Check what a format names as the margin.

    Raises:
        InputError: for a margin of other than one or two columns.
    """
    if margin is not None and not isinstance(margin, str) and len(margin) != 2:
        raise InputError(f"RowFormat.margin: name one column, or two whose difference it is, got {margin}")


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


def _read(row: Mapping[str, Any], kind: str, source: ColumnSource) -> float:
    if not isinstance(source, str):
        chosen, rejected = (_number(row, name) for name in source)
        return chosen - rejected
    value = _number(row, source)
    column = COLUMNS[kind]
    if not column.fits(value):
        raise InputError(f"field `{source}`: {value:g}, but {column.rule}")
    return value


def _number(row: Mapping[str, Any], name: str) -> float:
    value = required(row, name)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"field `{name}`: {type(value).__name__}, not a number")
    number = float(cast(float, value))
    if math.isnan(number) or abs(number) > _LARGEST:
        raise InputError(f"field `{name}`: {number} is no finite number")
    return number
