"""Values of rows in Arrow columns, as exactly what a file says: nothing is taken for a number, a date or a text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from dpo_lightning.compat.datasets import JsonText, json_text
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import one_line

if TYPE_CHECKING:
    import pyarrow as pa

_SCALARS = {str: "string", int: "int64", float: "float64", bool: "bool"}
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_ENCODE_ASCII = json.JSONEncoder(separators=(",", ":")).encode  # spells a lone surrogate, which UTF-8 cannot


class Block(NamedTuple):
    """A part of a file's rows.

    Attributes:
        table: The rows in Arrow.
        features: The type of each column, as `datasets` names it.
    """

    table: pa.Table
    features: Mapping[str, Any]


def block_of(rows: Sequence[Mapping[str, Any]]) -> Block:
    """Return rows as a block, in which a field that a row leaves out is null."""
    names = dict.fromkeys(chain.from_iterable(rows))
    return block_of_columns({name: [row.get(name) for row in rows] for name in names})


def block_of_columns(columns: Mapping[str, Sequence[Any]]) -> Block:
    """Return columns of values as a block.

    A column of texts, of booleans, or of numbers of one kind has its own type in Arrow. Any other one, such as a list
    of messages, or numbers beside texts, is kept as JSON text and read as the values that it had.
    """
    import pyarrow as pa

    made = {name: _column(values) for name, values in columns.items()}
    table = pa.table({name: array for name, (array, _) in made.items()})
    return Block(table, {name: feature for name, (_, feature) in made.items()})


def _column(values: Sequence[Any]) -> tuple[pa.Array, Any]:
    import pyarrow as pa
    from datasets import Value

    kinds = {*map(type, values)} - {type(None)}
    if not kinds:
        return pa.nulls(len(values)), Value("null")
    name = _SCALARS.get(next(iter(kinds))) if len(kinds) == 1 else None
    if name is not None:
        try:
            return pa.array(values, Value(name).pa_type), Value(name)
        except (UnicodeEncodeError, OverflowError, pa.ArrowInvalid):
            pass  # a lone surrogate, or a number that 64 bits cannot hold
    return json_array(values), json_text()


def json_array(values: Iterable[Any]) -> pa.Array:
    """Return the JSON text of each value; null stays null."""
    import pyarrow as pa

    try:
        return pa.array([None if value is None else _ENCODE(value) for value in values], pa.string())
    except UnicodeEncodeError:
        return pa.array([None if value is None else _ENCODE_ASCII(value) for value in values], pa.string())


def widened(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return types of columns that hold the values of both."""
    from datasets import Value

    none = Value("null")
    names = dict.fromkeys([*first, *second])
    return {name: _wider(first.get(name, none), second.get(name, none)) for name in names}


def _wider(first: Any, second: Any) -> Any:
    from datasets import Value

    if first == second or second == Value("null"):
        return first
    return second if first == Value("null") else json_text()


def converted(block: Block, features: Mapping[str, Any]) -> pa.Table:
    """Return the rows of a block under wider types.

    Raises:
        InputError: naming a column whose values are not those of JSON, such as times, beside others.
    """
    import pyarrow as pa
    from datasets import Features

    schema = Features(features).arrow_schema
    arrays = [_converted(block, field.name, features[field.name], field.type) for field in schema]
    return pa.table(arrays, schema=schema)


def _converted(block: Block, name: str, feature: Any, kind: Any) -> Any:
    import pyarrow as pa
    from datasets import Value

    had = block.features.get(name, Value("null"))
    if had == Value("null"):
        return pa.nulls(block.table.num_rows, kind)
    if had == feature:
        return block.table[name]
    try:
        return json_array(pylist(block.table[name]))
    except TypeError as error:
        raise InputError(f"column `{name}` is of several types, {had} among them: {one_line(error)}") from None


def pylist(column: Any) -> list[Any]:
    """Return the values of an Arrow column, maps as mappings."""
    return column.to_pylist(maps_as_pydicts="strict")


def is_json(feature: Any) -> bool:
    """Return whether a column is kept as JSON text."""
    return isinstance(feature, JsonText)
