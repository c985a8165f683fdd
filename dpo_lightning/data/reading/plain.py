"""Columns whose stored values are not what they stand for: numbers of classes, JSON text, mappings of Arrow."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dpo_lightning.compat.datasets import JsonText, fingerprint, json_text
from dpo_lightning.data.reading.exact import Block, json_array, pylist
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import one_line

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

_NUMBER = re.compile(r"-?\d+")


def plain_block(table: pa.Table, stated: Mapping[str, Any]) -> Block:
    """Return an Arrow table as a block: classes by their names, and what `datasets` has no type for as JSON text.

    Args:
        table: The rows.
        stated: Types of columns as `datasets` has written them, by name; of others the type in Arrow counts.

    Raises:
        InputError: naming a column whose values cannot be kept.
    """
    import pyarrow as pa

    arrays, features = {}, {}
    for name in table.column_names:
        column = _decoded(table[name])
        _check_whole(name, column)
        feature = undecoded(stated.get(name) or _type_of(column.type))
        features[name] = plain_type(feature)
        arrays[name] = column if features[name] == feature else _plain(name, column, feature)
    return Block(pa.table(arrays), features)


def check_names(schema: pa.Schema) -> None:
    """Check that columns, and fields inside them, have names of their own.

    Raises:
        InputError: naming one that is there twice.
    """
    _check_fields([*schema], "")


def _check_fields(fields: Sequence[pa.Field], inside: str) -> None:
    from pyarrow import types

    names = [each.name for each in fields]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        where = f"in column `{inside}`" if inside else "of the columns"
        raise InputError(f"two {where} are called `{one_line(twice, 60)}`: give each a name of its own")
    for each in fields:
        if types.is_nested(each.type) and not types.is_union(each.type):
            inner = [each.type.field(number) for number in range(each.type.num_fields)]
            _check_fields(inner, f"{inside}.{each.name}" if inside else each.name)


def _check_whole(name: str, column: Any) -> None:
    """Check that values are what their types say, such as texts of UTF-8, for which Arrow takes a file's word."""
    import pyarrow as pa

    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        raise InputError(f"column `{name}` is damaged: {one_line(error)}") from None


def undecoded(feature: Any) -> Any:
    """Return a type whose pictures, sounds and the like stay bytes and paths, which no format reads."""
    from datasets import Json

    if isinstance(feature, Mapping):
        return {name: undecoded(each) for name, each in feature.items()}
    if isinstance(feature, list):
        return [undecoded(feature[0])]
    if getattr(feature, "decode", False) is True and not isinstance(feature, Json | JsonText):
        return replace(feature, decode=False)
    inner = getattr(feature, "feature", None)
    return feature if inner is None else replace(feature, feature=undecoded(inner))


def _decoded(column: Any) -> Any:
    import pyarrow as pa

    if isinstance(column.type, pa.BaseExtensionType):
        column = column.cast(column.type.storage_type)
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    views = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    return column.cast(views[column.type]) if column.type in views else column


def _type_of(kind: Any) -> Any:
    """Return the type that `datasets` has for one of Arrow; None where it has none."""
    import pyarrow as pa
    from datasets import Features

    try:
        return Features.from_arrow_schema(pa.schema({"values": kind}))["values"]
    except (ValueError, NotImplementedError):
        return None


def plain_type(feature: Any) -> Any:
    """Return the type that a column has once its values are what they stand for."""
    from datasets import ClassLabel, Value

    if isinstance(feature, ClassLabel):
        return Value("string")
    return json_text() if feature is None or _stands_for(feature) else feature


def _stands_for(feature: Any) -> bool:
    """Return whether values of a type, or values within them, stand for others."""
    from datasets import ClassLabel, Json

    if isinstance(feature, Mapping):
        return any(map(_stands_for, feature.values()))
    if isinstance(feature, list):
        return _stands_for(feature[0])
    inner = getattr(feature, "feature", None)
    return isinstance(feature, ClassLabel | Json) if inner is None else _stands_for(inner)


def _plain(name: str, column: Any, feature: Any) -> Any:
    import pyarrow as pa
    from datasets import ClassLabel

    try:
        values = [meant(value, feature) for value in pylist(column)]
        return pa.array(values, pa.string()) if isinstance(feature, ClassLabel) else json_array(values)
    except InputError as error:
        raise InputError(f"column `{name}`: {error}") from None
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"column `{name}` of type {column.type} cannot be read: {one_line(error)}") from None


def meant(value: Any, feature: Any, *, decoded: bool = False) -> Any:
    """Return what a stored value stands for: the name of a class, the value of a JSON text unless it is `decoded`."""
    from datasets import ClassLabel, Json

    if value is None or feature is None:
        return value
    if isinstance(feature, ClassLabel):
        return _class_name(value, feature.names)
    if isinstance(feature, Json | JsonText):
        return value if decoded else json.loads(value)
    if isinstance(feature, Mapping):
        return {name: meant(each, feature[name], decoded=decoded) for name, each in value.items()}
    inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)
    return [meant(each, inner, decoded=decoded) for each in value] if isinstance(value, list) else value


def _class_name(value: Any, names: Sequence[str]) -> str | None:
    """Return the name of a class from its number, as a CSV has it in text; from its name, that name."""
    if value in names:
        return str(value)
    number = int(value) if isinstance(value, int) or _NUMBER.fullmatch(str(value)) else len(names)
    if number >= len(names):
        said = one_line(", ".join(names), 100)
        raise InputError(f"{one_line(repr(value), 40)} is none of its {len(names)} classes, which are {said}")
    return names[number] if number >= 0 else None  # -1 where a test set hides it


def plain_rows(rows: Dataset, stated: Mapping[str, Any] | None = None) -> Dataset:
    """Return a dataset in which every column has what its values stand for; itself, where it does so already.

    Args:
        rows: The dataset.
        stated: Types that its card states; those of classes count where a column has their numbers.
    """
    from datasets import Features
    from datasets.fingerprint import Hasher

    had = {name: _classes(undecoded(feature), (stated or {}).get(name)) for name, feature in rows.features.items()}
    features = Features({name: plain_type(feature) for name, feature in had.items()})
    if any(undecoded(feature) != feature for feature in rows.features.values()):
        rows = rows.cast(Features({name: undecoded(feature) for name, feature in rows.features.items()}))
    if features == rows.features and had == {**rows.features}:
        return rows
    made = rows.with_format("arrow").map(
        lambda table: plain_block(table, had).table.cast(features.arrow_schema),
        batched=True,
        features=features,
        new_fingerprint=Hasher.hash(("plain", fingerprint(rows), str(had))),
        desc="names of classes",
    )
    return made.with_format(None)


def _classes(feature: Any, stated: Any) -> Any:
    from datasets import ClassLabel, Value

    return stated if isinstance(stated, ClassLabel) and feature in (Value("int64"), Value("string")) else feature
