"""Rows of files, read block by block."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

from dpo_lightning.data.reading.exact import Block, is_json, pylist
from dpo_lightning.data.reading.options import FileOptions
from dpo_lightning.data.reading.packed import SUFFIXES, readable
from dpo_lightning.data.reading.store import FileState, ReadFile, state_of
from dpo_lightning.data.streaming.row_streams import RawRow, RowStream
from dpo_lightning.errors import InputError

_ROWS = 256  # that are Python objects at once
_END = 1 << 16  # bytes at either end of a file, which say whether it is the same


class FileRows(RowStream):
    """Rows of files, one file after the other, with the values that the files have.

    Args:
        files: The files, in order.
        options: How they are read.

    Raises:
        InputError: for files and options that need a file as a whole.
    """

    def __init__(self, files: Sequence[ReadFile], options: FileOptions) -> None:
        if options.field is not None:
            raise InputError("data.load_options.field with data.streaming: the file would be read as a whole")
        for file in files:
            if file.kind in ("parquet", "arrow") and file.path.suffix in SUFFIXES:
                raise InputError(
                    f"{file.path}: data.streaming cannot read a packed {file.kind} file in parts: unpack it"
                )
        self._files = files
        self._states = [state_of(file.path) for file in files]
        self._options = options

    @property
    def identity(self) -> Any:
        """Options, and of each file its size and the hash of its ends, wherever it lies."""
        return asdict(self._options), [_ends(file.path) for file in self._files]

    def rows(self) -> Iterator[RawRow]:
        """Read the files.

        Raises:
            InputError: naming the file, and the line or the row that cannot be read, or a file that has changed.
        """
        row = 0
        for file, state in zip(self._files, self._states, strict=True):
            _check_state(file.path, state)
            number = 0
            for block in file.reader(file.path, self._options, _no_bar):
                for values, coded in _rows_of(block):
                    yield RawRow(row, str(file.path), number, values, coded)
                    row, number = row + 1, number + 1
            _check_state(file.path, state)


def _check_state(path: Path, state: FileState) -> None:
    if state_of(path) != state:
        raise InputError(f"{path}: the file has changed since the run began, or while it was read: start again")


def _no_bar(count: int) -> None:
    pass


def _rows_of(block: Block) -> Iterator[tuple[Mapping[str, Any], tuple[str, ...]]]:
    names = block.table.column_names
    coded = tuple(name for name in names if is_json(block.features[name]))
    for start in range(0, block.table.num_rows, _ROWS):
        part = block.table.slice(start, _ROWS)
        for values in zip(*map(pylist, part.columns), strict=True):
            yield dict(zip(names, values, strict=True)), coded


def _ends(path: Path) -> tuple[int, str]:
    with readable(path), path.open("rb") as file:
        digest = blake2b(file.read(_END), digest_size=16)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _END))
        digest.update(file.read())
    return size, digest.hexdigest()
