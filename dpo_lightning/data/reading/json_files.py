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
from dpo_lightning.utils.text import one_line

_DEEPEST = 512  # levels; the reader's recursion overflows the stack, and the process dies, somewhere above 2,000
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))
_SCALAR = re.compile(rb'null|true|false|"|-?[0-9]')
_LIST_OF_OTHERS = re.compile(rb'\[\s*(?:null|true|false|"|-?[0-9]|\[)')
_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"


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
    with _readable(path), opened(path) as file:
        first = True
        # A file that is one value may be spread over lines.
        for number, line in enumerate(file if ".jsonl" in path.suffixes else [file.read()], start=1):
            row = line.removeprefix(_BOM).strip()
            if first and _SCALAR.match(row):
                raise InputError(f"{path}: line {number}: not a JSON object, but {_shown(row)}")
            if line.count(b"[") + line.count(b"{") > _DEEPEST and _depth(line) > _DEEPEST:
                raise InputError(f"{path}: line {number}: nested deeper than {_DEEPEST} levels")
            if first and _LIST_OF_OTHERS.match(row):
                raise InputError(f"{path}: line {number}: a list of JSON objects is needed, not {_shown(row)}")
            first = first and not row


def _shown(row: bytes) -> str:
    return repr(row[:40].decode(errors="replace"))


def _depth(text: bytes) -> int:
    """Return the most brackets that are open at once, outside of strings."""
    brackets = np.frombuffer(_STRING.sub(b"", text).translate(None, _NO_BRACKET), np.uint8)
    opens = (brackets == ord("[")) | (brackets == ord("{"))
    return int(np.cumsum(np.where(opens, 1, -1)).max(initial=0))


def opened(path: Path) -> IO[bytes]:
    """Open a file for its bytes, unpacked where it is packed, whatever its name says; `datasets` does so too."""
    with path.open("rb") as file:
        packed = file.read(len(_GZIP)) == _GZIP
    return cast(IO[bytes], gzip.open(path, "rb")) if packed or path.suffix == ".gz" else path.open("rb")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Name the file in an error of reading it, or of unpacking it."""
    try:
        yield
    except InputError:
        raise
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: {error}: the file is damaged, or no .gz: take a whole one") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8: {error}: save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: {error}") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deep") from None


def raise_on_malformed(paths: Iterable[Path]) -> None:
    """Find what `datasets` could not read: its own message names no line of the file.

    Raises:
        InputError: naming the line; nothing when the file is well formed.
    """
    for path in paths:
        with _readable(path), opened(path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8")
            if ".jsonl" in path.suffixes:
                _check_json_lines(path, text)
            else:
                _check_json(path, text.read())


def _check_json(path: Path, text: str) -> None:
    try:
        _check_items(path, json.loads(text))
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # one object a line, which `datasets` accepts in a .json too
            _check_json_lines(path, iter(text.splitlines()))
        else:
            raise _malformed(path, error.lineno, error) from None


def _check_items(path: Path, value: object) -> None:
    for number, row in enumerate(value if isinstance(value, list) else ()):
        if not isinstance(row, dict):
            raise InputError(f"{path}: row {number} (from 0): not a JSON object, but {one_line(json.dumps(row), 40)}")


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
