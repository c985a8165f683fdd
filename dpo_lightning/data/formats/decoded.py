"""Values that a column of text holds as JSON."""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import Any, cast

from dpo_lightning.data.column_paths import has
from dpo_lightning.data.column_paths import value as value_at
from dpo_lightning.errors import InputError


def decoded(row: Mapping[str, Any], columns: Sequence[str] | None) -> Mapping[str, Any]:
    """Return the row with the JSON of these columns read.

    Raises:
        InputError: naming the field, for text that is not JSON.
    """
    if not columns:
        return row
    there = {name: read_json(name, value_at(row, name)) for name in columns if has(row, name)}
    return ChainMap(there, cast(dict[str, Any], row))


def read_json(name: str, value: Any) -> Any:
    """Return the value of a JSON text; what is no text stays.

    Raises:
        InputError: naming the field, for text that is not JSON.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise InputError(f"field `{name}`: text that is not JSON: {error}") from None
