"""Columns in a row of the source data, read and checked; `dpo_lightning.batch.columns` declares those of losses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, Union, cast

from dpo_lightning.batch import COLUMNS, Column, ColumnValue, Holds, checked_value
from dpo_lightning.batch.columns import checked_number
from dpo_lightning.data.column_paths import required
from dpo_lightning.data.control_tokens import check_text
from dpo_lightning.errors import InputError
from dpo_lightning.utils.arguments import wrong_kind
from dpo_lightning.utils.text import one_line

ColumnSource: TypeAlias = Union[str, list[str]]  # a column, or two whose difference counts

MASKS = ("scored", "mismatched_scored")
"""Columns of tokenised rows that say which tokens count, empty where all do."""

TOKENS = ("row", "prompt_ids", "completion_ids", "mismatched_ids", "labels", *MASKS)
"""Columns of tokenised rows that `TokenizedExample` has."""

NOTES = ("outcome", "truncated", "repeats", "quotes", "boundary")
"""Columns of tokenised rows that reports are made of."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_TEXT = Column.of_text("Text of the row.")


def data_columns(names: Iterable[str]) -> list[str]:
    """Return those of the names of a tokenised table's columns that the data has beside its texts."""
    return [name for name in names if name not in (*TOKENS, *NOTES)]


def named_columns(settings: Any) -> dict[str, ColumnSource]:
    """Return the columns with a number of each example that a format's settings name, and where they are in a row."""
    numbers = [name for name, column in COLUMNS.items() if column.holds is Holds.NUMBER]
    return {name: source for name in numbers if (source := getattr(settings, name, None)) is not None}


def declared(named: Mapping[str, ColumnSource], texts: Sequence[str] | None) -> dict[str, Column]:
    """Return the columns that a format gives: those of `COLUMNS` that are named, and texts."""
    return {**{name: COLUMNS[name] for name in named}, **dict.fromkeys(texts or (), _TEXT)}


def read_columns(
    named: Mapping[str, ColumnSource], texts: Sequence[str] | None, row: Mapping[str, Any]
) -> dict[str, ColumnValue]:
    """Return the values of the columns that are named, see `COLUMNS`, and of the texts.

    Raises:
        InputError: naming the field, for what is no finite number, not in the range of its kind, or no text.
    """
    numbers = {name: _read(row, name, source) for name, source in named.items()}
    return {**numbers, **{name: check_column(_TEXT, required(row, name), 1, f"field `{name}`") for name in texts or ()}}


def check_column(column: Column, value: Any, completions: int, place: str) -> ColumnValue:
    """Return the value of a column for an example with so many completions; a text that spells a number is that number.

    Raises:
        InputError: naming the place, for a value of another kind, out of range, or that cannot be stored.
    """
    if column.holds is not Holds.TEXT:  # every value of a CSV is text
        value = [*map(number_in, value)] if isinstance(value, list | tuple) else number_in(value)
    found = checked_value(value, column.holds, completions, place)
    if column.holds is Holds.TEXT:
        return check_text(cast(str, found), place)
    for number in cast(Sequence[float], found if column.holds is Holds.NUMBERS else [found]):
        if not column.fits(number):
            raise InputError(f"{place}: {number:g}, but {column.rule}")
    return found


def check_declared(columns: object, format_name: str) -> None:
    """Check the columns that a format declares.

    Raises:
        InputError: for what maps no names to columns, for a name that tokenised rows need, and for one of `COLUMNS`
            that holds something else.
    """
    if not isinstance(columns, Mapping):
        raise wrong_kind(f"data.format {format_name}: columns", columns, dict, 'give names with their `Column("...")`')
    for name, column in columns.items():
        if not isinstance(column, Column):
            place = f"data.format {format_name}: the column `{name}`"
            raise wrong_kind(
                place, column, Column, 'write `Column("...")`, `Column.of_completions` or `Column.of_text`'
            )
        if name in (*TOKENS, *NOTES):
            raise InputError(
                f"data.format {format_name}: no column can be called `{name}`, as one of tokenised rows is"
            )
        if name in COLUMNS and column.holds is not COLUMNS[name].holds:
            raise InputError(
                f"data.format {format_name}: the column `{name}` holds {column.holds.value}, and losses read "
                f"{COLUMNS[name].holds.value} under that name: take another name"
            )


def check_sources(named: Mapping[str, object], format_name: str = "RowFormat") -> None:
    """Check what a format names as the columns of numbers.

    Raises:
        InputError: for other than the name of a column; a margin may be two names.
    """
    for name, source in named.items():
        if isinstance(source, str):
            continue
        if name != "margin":
            raise InputError(f"{format_name}.{name}: name one column, got {one_line(repr(source), 80)}")
        if not are_names(source) or len(cast(Sequence[str], source)) != 2:
            raise InputError(
                f"{format_name}.margin: name one column, or two whose difference it is, got "
                f"{one_line(repr(source), 80)}"
            )


def are_names(given: object) -> bool:
    """Return whether a setting is a list of names of columns."""
    return isinstance(given, list | tuple) and all(isinstance(name, str) for name in given)


def _read(row: Mapping[str, Any], kind: str, source: ColumnSource) -> ColumnValue:
    if isinstance(source, str):
        return check_column(COLUMNS[kind], required(row, source), 1, f"field `{source}`")
    chosen, rejected = (checked_number(number_in(required(row, name)), f"field `{name}`") for name in source)
    return chosen - rejected


def number_in(value: Any) -> Any:
    """Return the number that a text spells, as in `"8"` or `" 4.5"`, and anything else as it is."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value.strip()):
        return value
    return float(value)
