"""Rows of Parquet and Arrow files, whose columns have the types that the file states."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dpo_lightning.data.reading.exact import Block
from dpo_lightning.data.reading.options import FileOptions
from dpo_lightning.data.reading.packed import SUFFIXES, opened, readable
from dpo_lightning.data.reading.plain import check_names, plain_block
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import one_line

_ROWS = 1024  # of a block


def parquet_blocks(path: Path, options: FileOptions, advance: Callable[[int], Any]) -> Iterator[Block]:
    """Read a Parquet file.

    Args:
        path: The file, which may be packed.
        options: None is read.
        advance: Is told the bytes that were read.

    Raises:
        InputError: naming the file, for a damaged one.
    """
    from pyarrow import parquet

    with _whole(path), parquet.ParquetFile(_source(path)) as file:
        stated = _stated(file.schema_arrow)
        check_names(file.schema_arrow)
        row = 0
        for batch in file.iter_batches(_ROWS):
            yield from _blocks([batch], stated, row)
            row += batch.num_rows
            advance(path.stat().st_size * batch.num_rows // file.metadata.num_rows)


def arrow_blocks(path: Path, options: FileOptions, advance: Callable[[int], Any]) -> Iterator[Block]:
    """Read an Arrow file, of the streaming or of the random-access kind.

    Args:
        path: The file, which may be packed.
        options: None is read.
        advance: Is told the bytes that were read.

    Raises:
        InputError: naming the file, for a damaged one.
    """
    import pyarrow as pa

    with _whole(path), _source(path) as source:
        try:
            batches = pa.ipc.open_stream(source)
            schema = batches.schema
        except pa.ArrowInvalid:
            file = pa.ipc.open_file(source)
            schema, batches = file.schema, (file.get_batch(number) for number in range(file.num_record_batches))
        check_names(schema)
        yield from _blocks(batches, _stated(schema))
    advance(path.stat().st_size)


def _blocks(batches: Any, stated: Mapping[str, Any], row: int = 0) -> Iterator[Block]:
    """Yield the rows of batches, the first of which has this number in its file."""
    import pyarrow as pa

    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS):
            try:
                yield plain_block(pa.Table.from_batches([batch.slice(start, _ROWS)]), stated)
            except InputError as error:
                last = min(row + start + _ROWS, row + batch.num_rows) - 1
                raise InputError(f"rows {row + start} to {last} (from 0): {error}") from None
        row += batch.num_rows


def _source(path: Path) -> Any:
    import pyarrow as pa

    if path.suffix not in SUFFIXES:
        return pa.memory_map(str(path))
    with opened(path) as file:
        return pa.BufferReader(file.read())


def _stated(schema: Any) -> Mapping[str, Any]:
    """Return the types that `datasets` has written into a file, by column."""
    from datasets import Features

    from dpo_lightning.compat.datasets import json_text

    json_text()
    if b"huggingface" not in (schema.metadata or {}):
        return {}
    try:
        return dict(Features.from_arrow_schema(schema))
    except (ValueError, NotImplementedError):  # a column of another's, for which `datasets` has no type
        return {}


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Name the file in what Arrow says of a damaged one."""
    import pyarrow as pa

    try:
        with readable(path):
            yield
    except InputError as error:
        said = str(error)
        raise InputError(said if said.startswith(str(path)) else f"{path}: {said}") from None
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"{path}: cannot be loaded: {one_line(error)}") from None
