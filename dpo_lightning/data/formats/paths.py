"""Values in a row: nested ones by path, and those that a text column holds as JSON."""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import Any, cast

from dpo_lightning.data.columns import required
from dpo_lightning.errors import InputError


def at(row: Mapping[str, Any], path: str) -> Any:
    """Return the value of a column, or of a field in it, as in `input.messages`; None where there is none.

    Example:
        >>> at({"input": {"messages": [1]}, "a.b": 2}, "input.messages"), at({"a.b": 2}, "a.b"), at({}, "a.b")
        ([1], 2, None)
    """
    if path in row:
        return row[path]
    column, dot, rest = path.partition(".")
    inner = row.get(column)
    return at(inner, rest) if dot and isinstance(inner, Mapping) else None


def required_at(row: Mapping[str, Any], path: str) -> Any:
    """Return the value at a path.

    Raises:
        InputError: naming the field, when it is missing or null.
    """
    found = at(row, path)
    if found is not None:
        return found
    column = path.partition(".")[0]
    if path in row or column not in row:
        return required(row, path)
    raise InputError(f"field `{path}`: `{column}` has no such field that is not null")


def decoded(row: Mapping[str, Any], columns: Sequence[str] | None) -> Mapping[str, Any]:
    """Return the row with the JSON of these columns read.

    Raises:
        InputError: naming the field, for text that is not JSON.
    """
    if not columns:
        return row
    there = {name: _read(name, row[name]) for name in columns if name in row}
    return ChainMap(there, cast(dict[str, Any], row))


def _read(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise InputError(f"field `{name}`: text that is not JSON: {error}") from None
