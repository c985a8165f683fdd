"""The format of a split, settled by its first rows before any is tokenised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning.pytorch.utilities import rank_zero_info

from dpo_lightning.data.formats.auto import AutoFormat
from dpo_lightning.data.formats.base import Format
from dpo_lightning.data.formats.compared import ComparedFormat
from dpo_lightning.data.formats.found import find_format
from dpo_lightning.data.formats.known import Known, known_formats
from dpo_lightning.data.formats.no_preference import NoPreference
from dpo_lightning.data.formats.row import RowFormat
from dpo_lightning.data.formats.shapes import first_value, spells_messages
from dpo_lightning.data.formats.spelled import spelled_messages
from dpo_lightning.errors import InputError, prefixed
from dpo_lightning.losses import Compares

if TYPE_CHECKING:
    from datasets import Dataset

FIRST_ROWS = 100
"""Rows that are looked at."""

Rows = Sequence[Mapping[str, Any]]


def first_rows(rows: Dataset, place: str) -> Rows:
    """Return the rows that are looked at.

    Raises:
        InputError: naming the place, for text that is not UTF-8.
    """
    try:
        return [*rows.select(range(min(len(rows), FIRST_ROWS))).with_format(None)]
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: not UTF-8: {error}") from None


def settled_format(
    row_format: Format,
    rows: Rows,
    place: str,
    wanted: Compares | None = None,
    tell: Callable[[str], None] = rank_zero_info,
) -> Format:
    """Return the format that rows are read by, and say which where it was found.

    Args:
        row_format: The format of the config.
        rows: The first rows of a split.
        place: The split as messages name it.
        wanted: The examples that the objective reads, where there is one.
        tell: Gets the line that says which it is.

    Raises:
        InputError: for rows that no format reads or several do, and for rows that the format of the config does not
            read, or reads against what they say, where another one is right.
    """
    rows = _without(rows, row_format.ignore or ())
    with prefixed(f"{place}: "):
        if isinstance(row_format, AutoFormat) and row_format.looks:
            known = row_format.known_in(rows, wanted)
            tell(f"{place}: read as {known.said}")
            return known.format
        found = row_format.found_in(rows, wanted)
        if isinstance(found, RowFormat):
            _check_sides(found, rows)
            _check_text(found, rows)
    _check_first(found, rows, place)
    return found


def _without(rows: Rows, ignored: Sequence[str]) -> Rows:
    return [{name: value for name, value in row.items() if name not in ignored} for row in rows] if ignored else rows


def _check_sides(row_format: RowFormat, rows: Rows) -> None:
    """Refuse two completions by the names of a comparison, whose verdict would not be read."""
    sides = {row_format.chosen, row_format.rejected}
    for known in known_formats():
        read = known.format
        if not isinstance(read, ComparedFormat) or read.scores or sides != {read.first, read.second}:
            continue
        if first_value(rows, read.preference) is not None:
            raise InputError(
                f"field `{read.preference}` says which of `{read.first}` and `{read.second}` is better, and "
                f"data.format {type(row_format).__name__} does not read it: {_read_by(known)}"
            )


def _check_text(row_format: RowFormat, rows: Rows) -> None:
    """Refuse messages that are spelled as JSON in a text, which would be trained on as they stand."""
    names = dict.fromkeys((row_format.prompt, row_format.chosen, row_format.rejected))
    if spelled := [name for name in names if spells_messages(first_value(rows, name))]:
        raise spelled_messages(spelled)


def _check_first(row_format: Format, rows: Rows, place: str) -> None:
    """Refuse a first row that another format reads, with the name of that."""
    try:
        for row in rows[:1]:
            row_format.examples(row, str)
    except NoPreference:
        return
    except InputError as error:
        try:
            known = find_format(rows, row_format.gives)
        except InputError:
            return  # the reader says what is wrong with the row
        if type(known.format) is not type(row_format):
            raise InputError(f"{place}, row 0 (from 0): {error}; {_read_by(known)}") from None


def _read_by(known: Known) -> str:
    return f"data.format {type(known.format).__name__} reads such rows ({known.said})"
