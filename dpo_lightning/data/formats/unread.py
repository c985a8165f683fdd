"""Values of a split that its format leaves: named once, or refused where their name says what they mean."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from dpo_lightning.data.formats.base import Format
from dpo_lightning.data.formats.example import Example
from dpo_lightning.data.formats.filled import count, fields_of, first
from dpo_lightning.data.formats.known_columns import JUDGEMENT, KNOWN
from dpo_lightning.data.formats.no_preference import NoPreference
from dpo_lightning.data.formats.recorded import Path, Recorded, held, left, note_all, shown_path
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import nearest

if TYPE_CHECKING:
    import datasets

_FIRST, _SPREAD, _EACH = 200, 200, 3
"""Rows that are looked at: the first ones, ones of the whole split, and ones with a field that none of these had."""

_NAMED = 12  # fields that a line names


@dataclass(frozen=True)
class Looked:
    """A look at rows of a split.

    Attributes:
        examples: The examples of these rows.
        unread: Where there are values that the format leaves.
        found: Where there are values at all.
    """

    examples: Sequence[Example]
    unread: Sequence[Path]
    found: frozenset[Path]


def look_at(
    rows: datasets.Dataset, row_format: Format, read: Callable[[Mapping[str, Any]], list[Example]]
) -> Looked | None:
    """Read some rows of a split and note what of them is read.

    Args:
        rows: The split.
        row_format: The format.
        read: Gives the examples of a row.

    Returns:
        None where one of these rows cannot be read, of which tokenising tells.
    """
    noted: set[Path] = set()
    found: set[Path] = set()
    examples: list[Example] = []

    def add(indices: Iterable[int]) -> None:
        for row in rows.select([*indices]):
            found.update(held(row))
            given = _read(read, Recorded(row, noted))
            note_all(given)
            examples.extend(given)

    spread = np.linspace(0, len(rows) - 1, _SPREAD).astype(int).tolist()
    try:
        add(sorted({*range(min(_FIRST, len(rows))), *spread}))
        for path in fields_of(rows):
            if path not in found:
                add(first(rows, path, _EACH))
    except (InputError, UnicodeDecodeError):
        return None
    return Looked(examples, left(found, noted), frozenset(found))


def _read(read: Callable[[Mapping[str, Any]], list[Example]], row: Mapping[str, Any]) -> list[Example]:
    try:
        return read(row)
    except NoPreference:
        return []


def names_in(rows: datasets.Dataset) -> set[str]:
    """Return what `Format.ignore` may name: columns, paths, and names of fields inside, as of messages."""
    paths = {*fields_of(rows), *(path for row in rows.select(range(min(_FIRST, len(rows)))) for path in held(row))}
    prefixes = {path[:end] for path in paths for end in range(1, len(path) + 1)}
    return {*rows.column_names, *map(shown_path, prefixes), *(path[-1] for path in prefixes)}


def check_ignored(row_format: Format, names: set[str]) -> None:
    """Refuse names to ignore that are in none of the splits.

    Raises:
        InputError: naming them.
    """
    for name in row_format.ignore or ():
        if name not in names:
            near = nearest(name, names)
            raise InputError(
                f"data.format.ignore: there is no column `{name}` in the data{f': is `{near}` meant?' if near else ''}"
            )


def check_known(unread: Iterable[Path], row_format: Format, rows: datasets.Dataset) -> None:
    """Refuse columns that are left and whose name says what they mean; a further judgement may be left.

    Raises:
        InputError: naming the column, its rows, and what to set.
    """
    for path in unread:
        _check_meaning(path, row_format, partial(_of_all, rows, path))


def _of_all(rows: datasets.Dataset, path: Path) -> str:
    return f" ({count(rows, [path])} of {len(rows)} rows)"


def _check_meaning(path: Path, row_format: Format, rows: Callable[[], str]) -> None:
    meaning = KNOWN.get(path[-1].lower())
    if meaning is not None and not (row_format.judges and meaning is JUDGEMENT):
        name = shown_path(path)
        raise InputError(
            f"column `{name}`{rows()} is {meaning.words}, and {type(row_format).__name__} does not read it: "
            f"{meaning.remedy}, or leave it out by data.format.ignore: [{name}]"
        )


def unread_beyond(
    row: Mapping[str, Any],
    row_format: Format,
    found: frozenset[Path],
    read: Callable[[Mapping[str, Any]], list[Example]],
) -> list[str]:
    """Return what of a row its format leaves, by name, where rows that were looked at had no values.

    Args:
        row: The row.
        row_format: The format.
        found: Where those rows had values.
        read: Gives the examples of a row.

    Raises:
        InputError: for a column that is left and whose name says what it means.
    """
    there = held(row)
    if there <= found:
        return []
    noted: set[Path] = set()
    note_all(_read(read, Recorded(row, noted)))
    before = {path[:end] for path in found for end in range(1, len(path) + 1)}
    ignored = row_format.ignore or ()
    unread = [path for path in left(there, noted) if path not in before and shown_path(path) not in ignored]
    for path in unread:
        _check_meaning(path, row_format, lambda: "")
    return [*map(shown_path, unread)]


def told(kinds: Mapping[str, Sequence[Path]], found: Collection[Path], rows: datasets.Dataset) -> str:
    """Say which fields are left, the most frequent first, and in how many rows.

    Args:
        kinds: The places of each field, by its name.
        found: Where there are values: a place that is not among them, as inside a text, is not counted.
        rows: The split.
    """
    there = {path[:end] for path in found for end in range(1, len(path) + 1)}
    counted = sorted((-count(rows, there.intersection(paths)), name) for name, paths in kinds.items())
    named = [f"`{name}` ({-number})" if number else f"`{name}`" for number, name in counted[:_NAMED]]
    return ", ".join(named) + (f" and {len(counted) - _NAMED} more" if len(counted) > _NAMED else "")
