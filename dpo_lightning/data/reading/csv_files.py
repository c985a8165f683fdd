"""Rows of CSV and TSV files, in which every value is text."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dpo_lightning.data.reading.exact import Block, block_of_columns
from dpo_lightning.data.reading.options import FileOptions
from dpo_lightning.data.reading.packed import opened_text, suffix_of
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import one_line

_ROWS, _CHARACTERS = 8192, 1 << 22  # of a block
_OTHER_SEPARATORS = ",;\t|"
_LONGEST = (1 << 31) - 1  # characters of a field; the module of CSV takes 131,072 unless told


def csv_blocks(path: Path, options: FileOptions, advance: Callable[[int], Any]) -> Iterator[Block]:
    """Read a CSV or TSV file, whose first row names the columns. An empty field is null unless the options say no.

    Args:
        path: The file, which may be packed.
        options: `sep`, `quotechar`, `encoding` and `empty_is_null` are read.
        advance: Is told the bytes that were read.

    Raises:
        InputError: naming the line of a row that has more or fewer fields than the header, or of a stray quote, and a
            column without a name or with that of another one; for a quote that is the separator.
    """
    separator = options.sep or ("\t" if suffix_of(path) == ".tsv" else ",")
    if options.quotechar == separator:
        raise InputError(f"data.load_options.quotechar: {separator!r} separates the fields of {path}: take another one")
    with opened_text(path, options.encoding, "", advance) as text:
        reader = csv.reader(text, delimiter=separator, quotechar=options.quotechar, strict=True)
        header = _header(path, reader)
        if options.sep is None:
            _check_separated(path, header)
        while rows := _rows(path, reader, len(header)):
            columns = zip(header, zip(*rows, strict=True), strict=True)
            yield block_of_columns({name: _values(column, options.empty_is_null) for name, column in columns})


def _values(column: tuple[str, ...], empty_is_null: bool) -> list[str | None]:
    return [value or None for value in column] if empty_is_null else [*column]


def _header(path: Path, reader: Any) -> list[str]:
    rows = _rows(path, reader, None)
    names = rows[0] if rows else []
    for name in names:
        if not name.strip():
            raise InputError(f"{path}: line 1: the header has a column without a name: give each column one")
        if names.count(name) > 1:
            raise InputError(
                f"{path}: the header names `{one_line(name, 60)}` twice: give each column a name of its own"
            )
    return names


def _check_separated(path: Path, header: list[str]) -> None:
    """Refuse a header of one name that looks like several."""
    found = next((mark for mark in _OTHER_SEPARATORS if len(header) == 1 and mark in header[0]), None)
    if found is not None:
        raise InputError(
            f"{path}: line 1: the header is one name, `{one_line(header[0], 60)}`: say what separates the columns in "
            f"data.load_options.sep, such as {found!r}"
        )


def _rows(path: Path, reader: Any, width: int | None) -> list[list[str]]:
    """Read the rows of a block, or the header where no width is known."""
    rows: list[list[str]] = []
    size, line = 0, reader.line_num + 1
    try:
        with _long_fields():
            for row in reader:
                if row:
                    _check_width(row, width, f"{path}: line {line}")
                    rows.append(row)
                    size += sum(map(len, row))
                if rows and (width is None or len(rows) == _ROWS or size > _CHARACTERS):
                    break
                line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path}: line {line}: {one_line(error)}: put fields with separators, quotes or line breaks in quotes, and "
            "double the quotes in them"
        ) from None
    return rows


def _check_width(row: list[str], width: int | None, place: str) -> None:
    if width is None or len(row) == width:
        return
    if len(row) > width:
        raise InputError(
            f"{place}: the row has more fields than the header, {len(row)} for {width}: put "
            "fields with commas in quotes"
        )
    raise InputError(f"{place}: the row has {len(row)} fields, and the header {width}")


@contextmanager
def _long_fields() -> Iterator[None]:
    before = csv.field_size_limit(_LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)
