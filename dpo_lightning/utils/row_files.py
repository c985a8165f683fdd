"""Files of rows that grow on disk: JSON lines, and Parquet in row groups."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dpo_lightning.errors import InputError
from dpo_lightning.utils.files import remove_leftovers, replaced

_GROUP = 1 << 18
"""Values in a row group: some megabytes, which are all that is held in memory."""


class RowFile(ABC):
    """A file to which rows are added.

    Args:
        path: The file, which is made anew.
        types: Types of columns by name, of `pyarrow`, which Parquet alone reads.
    """

    @abstractmethod
    def __init__(self, path: Path, types: Mapping[str, Any]) -> None: ...

    @abstractmethod
    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows."""

    @abstractmethod
    def close(self) -> None:
        """Write what is left, and close the file."""


class JsonLines(RowFile):
    """A line of JSON for each row."""

    def __init__(self, path: Path, types: Mapping[str, Any]) -> None:
        self._file = path.open("w", encoding="utf-8")

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows."""
        self._file.write("".join(json.dumps(row) + "\n" for row in rows))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class ParquetRows(RowFile):
    """Row groups of Parquet; a mapping in a row becomes columns, `texts.prompt` for `prompt` in `texts`.

    A column that comes later is null in the rows before: the groups that are there are then copied, one by one.
    """

    def __init__(self, path: Path, types: Mapping[str, Any]) -> None:
        self._path, self._types = path, types
        self._rows: list[Mapping[str, Any]] = []
        self._size = 0
        self._writer: Any = None

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows, and write a row group where there are enough."""
        for row in rows:
            flat = dict(_flat(row))
            self._rows.append(flat)
            self._size += sum(len(value) if isinstance(value, list) else 1 for value in flat.values())
        if self._size >= _GROUP:
            self._write()

    def close(self) -> None:
        """Write what is left, and close the file; without rows it has no columns."""
        if self._rows or self._writer is None:
            self._write()
        self._writer.close()

    def _write(self) -> None:
        import pyarrow as pa

        names = dict.fromkeys(name for row in self._rows for name in row)
        columns = {name: pa.array([row.get(name) for row in self._rows], self._types.get(name)) for name in names}
        self._append(pa.table(columns))
        self._rows, self._size = [], 0

    def _append(self, table: Any) -> None:
        import pyarrow as pa

        if self._writer is None:
            self._writer = _writer(self._path, table.schema)
        elif table.schema != self._writer.schema:
            schema = pa.unify_schemas([self._writer.schema, table.schema], promote_options="permissive")
            if schema != self._writer.schema:
                self._widen(schema)
        self._writer.write_table(_as(table, self._writer.schema))

    def _widen(self, schema: Any) -> None:
        from pyarrow import parquet

        self._writer.close()
        narrow = self._path.with_name(f"{self._path.name}.narrow")
        self._path.replace(narrow)
        try:
            self._writer = _writer(self._path, schema)
            with parquet.ParquetFile(narrow) as groups:
                for place in range(groups.num_row_groups):
                    self._writer.write_table(_as(groups.read_row_group(place), schema))
        finally:
            narrow.unlink()


@contextmanager
def new_rows(place: str, path: Path, types: Mapping[str, Any]) -> Iterator[RowFile]:
    """Yield a file to which rows are added; it takes its name when the block ends without an error.

    What an earlier process that was killed has left of it goes.

    Args:
        place: Text that names the argument, in an error.
        path: The file, whose suffix says its kind.
        types: See `RowFile`.

    Raises:
        InputError: for another suffix, and a path that is no file's.
    """
    kind = row_file(place, path)
    remove_leftovers(path.parent, path.name)
    with replaced(path) as temporary:
        file = kind(temporary, types)
        try:
            yield file
        except BaseException:
            with suppress(Exception):
                file.close()
            raise
        file.close()


def row_file(place: str, path: str | Path) -> type[RowFile]:
    """Return the kind of file that a suffix names.

    Args:
        place: Text that names the argument, in an error.
        path: The file.

    Raises:
        InputError: for another suffix.
    """
    kinds: dict[str, type[RowFile]] = {".jsonl": JsonLines, ".parquet": ParquetRows}
    if (suffix := Path(path).suffix) not in kinds:
        raise InputError(f"{place}: give a name that ends in .jsonl or .parquet, got {str(path)!r}")
    return kinds[suffix]


def _flat(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", each) for inner, each in value.items())
        else:
            yield name, value


def _writer(path: Path, schema: Any) -> Any:
    from pyarrow import parquet

    return parquet.ParquetWriter(path, schema)


def _as(table: Any, schema: Any) -> Any:
    import pyarrow as pa

    columns = [
        table[field.name] if field.name in table.column_names else pa.nulls(len(table), field.type) for field in schema
    ]
    return pa.table(columns, schema.names).cast(schema)
