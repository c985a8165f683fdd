"""Values in the columns of a split, found and counted by Arrow: no row is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dpo_lightning.data.formats.recorded import Path, holds

if TYPE_CHECKING:
    import datasets

_BLOCK = 10_000  # rows
_SHORT = 8  # bytes; text that holds nothing is shorter, as `null` is


def fields_of(rows: datasets.Dataset) -> list[Path]:
    """Return the paths of all values that a split may hold, by its schema; what JSON holds is not in it."""
    return [path for each in rows.with_format("arrow")[:0].schema for path in _leaves(each.type, (each.name,))]


def _leaves(kind: Any, path: Path) -> Iterator[Path]:
    from pyarrow import types

    if types.is_struct(kind):
        for index in range(kind.num_fields):
            field = kind.field(index)
            yield from _leaves(field.type, (*path, field.name))
    elif _is_list(kind):
        yield from _leaves(kind.value_type, path)
    elif not types.is_null(kind):
        yield path


def count(rows: datasets.Dataset, paths: Iterable[Path]) -> int:
    """Return the number of rows in which there is a value at one of the paths."""
    wanted = list(paths)
    return sum(int(block.sum()) for block in _blocks(rows, wanted)) if wanted else 0


def first(rows: datasets.Dataset, path: Path, most: int) -> list[int]:
    """Return the first rows in which there is a value at a path, as many at most."""
    found: list[int] = []
    start = 0
    for block in _blocks(rows, [path]):
        found += [start + int(index) for index in np.flatnonzero(block)[: most - len(found)]]
        if len(found) == most:
            break
        start += len(block)
    return found


def _blocks(rows: datasets.Dataset, paths: Sequence[Path]) -> Iterator[np.ndarray]:
    columns = sorted({path[0] for path in paths})
    for table in rows.select_columns(columns).with_format("arrow").iter(batch_size=_BLOCK):
        masks = [_filled(chunk, path[1:]) for path in paths for chunk in [_joined(table[path[0]])]]
        yield np.logical_or.reduce(masks)


def _joined(column: Any) -> Any:
    joined = column.combine_chunks()
    return joined.combine_chunks() if hasattr(joined, "combine_chunks") else joined


def _filled(array: Any, path: Path) -> np.ndarray:
    """Return which elements of an Arrow array have a value at a path inside them."""
    import pyarrow.compute as pc
    from pyarrow import types

    kind = array.type
    if hasattr(array, "storage"):  # JSON: a key in quotes stands for its value
        spelled = pc.match_substring(array.storage, f'"{path[-1]}"') if path else pc.is_valid(array)
        return pc.fill_null(spelled, False).to_numpy(zero_copy_only=False)
    if types.is_struct(kind):
        inner = [(path[0], path[1:])] if path else [(kind.field(each).name, ()) for each in range(kind.num_fields)]
        masks = [_filled(pc.struct_field(array, name), rest) for name, rest in inner]
        return np.logical_or.reduce([np.zeros(len(array), bool), *masks])
    if _is_list(kind):
        found = np.zeros(len(array), bool)
        found[pc.list_parent_indices(array).to_numpy()[_filled(pc.list_flatten(array), path)]] = True
        return found
    valid = pc.is_valid(array).to_numpy(zero_copy_only=False)
    return valid & _long_or_told(array, valid) if types.is_string(kind) or types.is_large_string(kind) else valid


def _long_or_told(texts: Any, valid: np.ndarray) -> np.ndarray:
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False)
    filled = lengths > _SHORT
    for index in np.flatnonzero(valid & ~filled & (lengths > 0)):
        filled[index] = holds(texts[int(index)].as_py())
    return filled


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
