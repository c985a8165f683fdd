"""JSON files, examined before `datasets` reads them: its reader dies of some, and names no line of others."""

from __future__ import annotations

import functools
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np

from dpo_lightning.errors import InputError

_DEEPEST = 512  # levels; the reader's recursion overflows the stack, and the process dies, somewhere above 2,000
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))
_SCALAR = re.compile(rb'null|true|false|"|-?[0-9]')
_BOM = b"\xef\xbb\xbf"


def examine(paths: Iterable[Path]) -> None:
    """Refuse what would end the process in the reader: `null` in the place of the first row, and deep nesting.

    Raises:
        InputError: for such a file, and for a damaged `.gz`; naming the line.
    """
    for path in paths:
        stat = path.stat()
        _examine(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=64)  # each split of a run asks again
def _examine(path: Path, size: int, changed: int) -> None:
    with _readable(path), _opened(path) as file:
        first = True
        # A file that is one value may be spread over lines.
        for number, line in enumerate(file if ".jsonl" in path.suffixes else [file.read()], start=1):
            row = line.removeprefix(_BOM).strip()
            if first and _SCALAR.match(row):
                raise InputError(f"{path}: line {number}: not a JSON object, but {_shown(row)}")
            first = first and not row
            if line.count(b"[") + line.count(b"{") > _DEEPEST and _depth(line) > _DEEPEST:
                raise InputError(f"{path}: line {number}: nested deeper than {_DEEPEST} levels")


def _shown(row: bytes) -> str:
    return repr(row[:40].decode(errors="replace"))


def _depth(text: bytes) -> int:
    """Return the most brackets that are open at once, outside of strings."""
    brackets = np.frombuffer(_STRING.sub(b"", text).translate(None, _NO_BRACKET), np.uint8)
    opens = (brackets == ord("[")) | (brackets == ord("{"))
    return int(np.cumsum(np.where(opens, 1, -1)).max(initial=0))


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Name the file in an error of reading it, or of unpacking it."""
    try:
        yield
    except InputError:
        raise
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise InputError(f"{path}: {error}") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deep") from None


def raise_on_malformed(paths: Iterable[Path]) -> None:
    """Find what `datasets` could not read: its own message names no line of the file.

    Raises:
        InputError: naming the line; nothing when the file is well formed.
    """
    for path in paths:
        with _readable(path), _opened(path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8")
            if ".jsonl" in path.suffixes:
                _check_json_lines(path, text)
            else:
                _check_json(path, text.read())


def _check_json(path: Path, text: str) -> None:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # one object a line, which `datasets` accepts in a .json too
            _check_json_lines(path, iter(text.splitlines()))
        else:
            raise _malformed(path, error.lineno, error) from None


def _check_json_lines(path: Path, lines: Iterable[str]) -> None:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise _malformed(path, number, error) from None
        if not isinstance(row, dict):
            raise InputError(f"{path}: line {number}: not a JSON object")


def _malformed(path: Path, line: int, error: json.JSONDecodeError) -> InputError:
    return InputError(f"{path}: line {line}: malformed JSON: {error.msg} (column {error.colno})")
