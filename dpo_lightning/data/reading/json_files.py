"""Rows of JSON files: one object a line, or a list of objects; read in blocks, every value as the file has it."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from dpo_lightning.data.reading.exact import Block, block_of
from dpo_lightning.data.reading.options import FileOptions
from dpo_lightning.data.reading.packed import opened_text
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import one_line

_CHUNK = 1 << 22  # characters, whose values take some ten times as much memory
_DEEPEST = 512  # levels: who reads the values recurses
_BLANK = " \t\r\n\ufeff"  # files that were put together have marks of byte order within
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKET = re.compile(r"[^][{}]+")
_NOT_BLANK = re.compile(rf"[^{_BLANK}]")
_TAIL = 16  # characters: longer than any literal or escape that a chunk may end in


def json_blocks(path: Path, options: FileOptions, advance: Callable[[int], Any]) -> Iterator[Block]:
    """Read a JSON file.

    Args:
        path: The file, which may be packed.
        options: `field` and `encoding` are read.
        advance: Is told the bytes that were read.

    Raises:
        InputError: naming the line of what is malformed, nested deeper than 512 levels, or no object.
    """
    with opened_text(path, options.encoding, "\n", advance) as text:
        if options.field is not None:
            yield from _in_blocks(path, _items_of(path, text.read(), options.field))
            return
        head = text.read(_CHUNK) + text.readline()
        if head.lstrip(_BLANK).startswith("["):
            yield from _in_blocks(path, _items(path, head, text))
        elif _has_lines(head):
            yield from _lines(path, head, text)
        else:
            yield from _in_blocks(path, _values(path, head, text))


def _has_lines(head: str) -> bool:
    """Return whether a file has an object a line, and not one that is spread over lines."""
    first, _, rest = head.lstrip(_BLANK).partition("\n")
    if rest.lstrip(_BLANK).startswith("{"):
        return True
    try:
        json.loads(first)
    except ValueError:
        return False
    except RecursionError:
        return True
    return True


def _lines(path: Path, head: str, text: IO[str]) -> Iterator[Block]:
    start, chunk = 1, head
    while chunk:
        lines = chunk.split("\n")
        rows = [*_rows(path, start, lines)]
        if rows:
            yield block_of(rows)
        start += len(lines) - 1
        chunk = text.read(_CHUNK) + text.readline()


def _rows(path: Path, start: int, lines: list[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, start):
        row = line.strip(_BLANK)
        if not row:
            continue
        place = f"{path}: line {number}"
        try:
            value = _DECODER.decode(row)
        except json.JSONDecodeError as error:
            raise InputError(f"{place}: malformed JSON: {error.msg} (column {error.colno})") from None
        except (RecursionError, ValueError, _TwiceError) as error:
            raise _refused(place, error) from None
        _check_depth(row, place)
        yield _object(value, place)


def _items(path: Path, head: str, text: IO[str]) -> Iterator[Any]:
    """Yield the items of a list, which is not held as a whole."""
    values = _Values(path, head, text)
    values.skip("[")
    while values.next_character() != "]":
        yield values.take()
        if values.next_character() != "]":
            values.skip(",")
            if values.next_character() == "]":
                values.skip("")
    values.skip("]")
    if values.next_character():
        values.skip("")


def _values(path: Path, head: str, text: IO[str]) -> Iterator[Any]:
    values = _Values(path, head, text)
    while values.next_character():
        yield values.take()


class _Values:
    """Values in a text that is read in chunks."""

    def __init__(self, path: Path, head: str, text: IO[str]) -> None:
        self._path, self._text = path, text
        self._buffer, self._position = head, 0
        self._line, self._column = 1, 0  # at the begin of the buffer

    def next_character(self) -> str:
        """Go to the next character that is not blank, and return it; none at the end."""
        while (found := _NOT_BLANK.search(self._buffer, self._position)) is None:
            self._position = len(self._buffer)
            if not self._refill():
                return ""
        self._position = found.start()
        return found[0]

    def skip(self, wanted: str) -> None:
        """Go past a character; with none, nothing may come here."""
        if not wanted or self.next_character() != wanted:
            raise self._malformed(f"Expecting {wanted!r}" if wanted else "Extra data", self._position)
        self._position += 1

    def take(self) -> Any:
        """Return the next value."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._buffer, self._position)
                break
            except json.JSONDecodeError as error:
                # What a chunk cuts is only malformed where nothing follows.
                cut = error.msg.startswith("Unterminated") or error.pos > len(self._buffer) - _TAIL
                if not (cut and self._refill()):
                    raise self._malformed(error.msg, error.pos) from None
            except (RecursionError, ValueError, _TwiceError) as error:
                raise _refused(self._place(self._position), error) from None
        _check_depth(self._buffer[self._position : end], self._place(self._position))
        self._position = end
        return value

    def _refill(self) -> bool:
        rest = len(self._buffer) - self._position
        more = self._text.read(max(_CHUNK, rest))
        if not more:
            return False
        self._column = self._column_of(self._position)
        self._line += self._buffer.count("\n", 0, self._position)
        self._buffer, self._position = self._buffer[self._position :] + more, 0
        return True

    def _place(self, position: int) -> str:
        return f"{self._path}: line {self._line + self._buffer.count(chr(10), 0, position)}"

    def _malformed(self, message: str, position: int) -> InputError:
        column = self._column_of(position) + 1
        return InputError(f"{self._place(position)}: malformed JSON: {message} (column {column})")

    def _column_of(self, position: int) -> int:
        line = self._buffer.rfind("\n", 0, position)
        return position + self._column if line < 0 else position - line - 1


def _items_of(path: Path, text: str, field: str) -> list[Any]:
    """Return the list under a field of the one object of a file."""
    values = [*_values(path, text, io.StringIO())]
    found = values[0].get(field) if len(values) == 1 and isinstance(values[0], dict) else None
    if not isinstance(found, list):
        raise InputError(f"data.load_options.field: {path} is no JSON object with a list under {field!r}")
    return found


def _in_blocks(path: Path, values: Iterator[Any] | list[Any]) -> Iterator[Block]:
    rows: list[dict[str, Any]] = []
    for number, value in enumerate(values):
        rows.append(_object(value, f"{path}: row {number} (from 0)"))
        if len(rows) == 4096:
            yield block_of(rows)
            rows = []
    if rows:
        yield block_of(rows)


def _object(value: Any, place: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise InputError(f"{place}: not a JSON object, but {one_line(json.dumps(value), 40)}")
    for name in value:
        if not name.isascii():
            _check_name(name, place)
    return value


def _check_name(name: str, place: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InputError(f"{place}: the field `{one_line(name, 60)}` has half a character in its name") from None


class _TwiceError(Exception):
    """A field that an object has twice."""


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _TwiceError(f"the field `{one_line(twice, 60)}` is specified twice in one object")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_without_doubles)


def _refused(place: str, error: Exception) -> InputError:
    if isinstance(error, RecursionError):
        return InputError(f"{place}: nested deeper than {_DEEPEST} levels")
    if isinstance(error, ValueError):  # of Python, which does not read longer ones
        return InputError(f"{place}: a number has more than {sys.get_int_max_str_digits()} digits: write it as text")
    return InputError(f"{place}: {error}")


def _check_depth(row: str, place: str) -> None:
    if row.count("[") + row.count("{") > _DEEPEST and _depth(row) > _DEEPEST:
        raise InputError(f"{place}: nested deeper than {_DEEPEST} levels")


def _depth(text: str) -> int:
    """Return the most brackets that are open at once, outside of strings."""
    brackets = np.frombuffer(_NO_BRACKET.sub("", _STRING.sub("", text)).encode(), np.uint8)
    opens = (brackets == ord("[")) | (brackets == ord("{"))
    return int(np.cumsum(np.where(opens, 1, -1)).max(initial=0))
