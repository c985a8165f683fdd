"""Columns of a row by their name, or by the path to a field inside one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dpo_lightning.errors import InputError

_NOTHING = object()


def has(row: Mapping[str, Any], name: str) -> bool:
    """Return whether a row has a column of this name or path; null counts as one."""
    return name in row or (_inside(row, name) is not _NOTHING)


def value(row: Mapping[str, Any], name: str) -> Any:
    """Return the value of a column, null where there is none.

    Args:
        row: Columns by name.
        name: A column, or a path such as `input.messages` to a field of one that holds mappings, or `answers.0.text`
            to one of a list. A column whose very name has the dots comes first.
    """
    if name in row:
        return row[name]
    found = _inside(row, name)
    return None if found is _NOTHING else found


def required(row: Mapping[str, Any], name: str) -> Any:
    """Return the value of a column, see `value`.

    Raises:
        InputError: naming the field, when it is missing or null.
    """
    found = row[name] if name in row else _inside(row, name)
    if found is _NOTHING:
        raise InputError(missing(row, name))
    if found is None:
        raise InputError(f"field `{name}`: null")
    return found


def missing(row: Mapping[str, Any], name: str) -> str:
    """Say that there is no such column, and which there are."""
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        outer = ".".join(parts[:length])
        if isinstance(held := value(row, outer), Mapping):
            return f"no field `{name}`; the fields of `{outer}` are {_listed(held)}"
    return f"no column `{name}`; the columns are {_listed(row)}"


def _listed(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"`{field}`" for field in fields)


def _inside(row: Mapping[str, Any], path: str) -> Any:
    """Return the value of a field inside a column, whose name may have dots itself; null inside of null."""
    head = path
    while "." in head:
        head = head.rpartition(".")[0]
        if head not in row:
            continue
        held, rest = row[head], path[len(head) + 1 :]
        if held is None:
            return None
        if isinstance(held, list | tuple):
            held = {str(place): each for place, each in enumerate(held)}
        if isinstance(held, Mapping):
            return held[rest] if rest in held else _inside(held, rest)
    return _NOTHING
