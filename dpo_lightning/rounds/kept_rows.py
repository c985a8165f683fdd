"""A file of rows that is written row by row: a command that was killed goes on behind the last whole row."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dpo_lightning.errors import InputError
from dpo_lightning.utils import files
from dpo_lightning.utils.files import check_writable, replaced
from dpo_lightning.utils.locks import alone


class KeptRows:
    """Rows of JSON that are on disk as soon as they are added.

    Attributes:
        done: Rows that are there, those of an earlier process included.
        whole: Whether the file was whole before: there is nothing to do.
    """

    def __init__(self, part: Path, done: int, *, whole: bool) -> None:
        self._part, self.done, self.whole = part, done, whole

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows behind those that are there, and wait for the disk: a kill leaves all before them."""
        with self._part.open("ab") as file:
            file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
            file.flush()
            os.fsync(file.fileno())
        self.done += len(rows)


@contextmanager
def kept_rows(path: Path, made: Mapping[str, Any], place: str) -> Iterator[KeptRows]:
    """Yield the rows of a file that a command makes; the file takes its name when the block ends without an error.

    Until then the rows are in `.NAME.part` beside it. What they were made of is in `.NAME.made`, which stays: a later
    call with the same goes on, or finds that all is done. Where the block fails before the first row, nothing stays.

    Args:
        path: The file.
        made: What decides on the rows, as JSON: settings of the command, `content_of` its inputs.
        place: Text that names the argument, in an error.

    Raises:
        InputError: for a file that is there and was made of something else, naming what differs, a path that cannot be
            written, and one that another process is writing.
    """
    check_writable(place, path, directory=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    part, note = (path.with_name(f".{path.name}.{kind}") for kind in ("part", "made"))
    with alone(path.with_name(f".{path.name}.lock"), f"{place} {path}"):
        _check_same(note, json.loads(json.dumps(made)), path, part, place)
        if path.exists():
            yield KeptRows(part, len(path.read_bytes().splitlines()), whole=True)
            return
        with replaced(note) as temporary:
            temporary.write_text(json.dumps(made, indent=1, ensure_ascii=False), encoding="utf-8")
        part.touch()
        try:
            yield KeptRows(part, _whole_rows(part), whole=False)
        except BaseException:
            if not part.stat().st_size:  # nothing is lost, and a corrected call has other settings
                part.unlink()
                note.unlink()
            raise
        part.replace(path)


def content_of(file: Path, place: str) -> str:
    """Return the BLAKE2b-128 of a file's bytes, in hexadecimal.

    Raises:
        InputError: for a file that cannot be read; `place` names the argument.
    """
    try:
        return files.content_of(file)
    except OSError as error:
        raise InputError(f"{place} {file}: {error.strerror or error}") from None


def _check_same(note: Path, made: Mapping[str, Any], path: Path, part: Path, place: str) -> None:
    """Refuse to go on with rows that were made of something else."""
    there = path if path.exists() else part if part.exists() and part.stat().st_size else None
    if there is None:
        return
    remedy = f"give another path, or delete {there}"
    try:
        before = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{place}: {there} is there, and nothing says what it was made of: {remedy}") from None
    names = [name for name in {**before, **made} if before.get(name) != made.get(name)]
    if names:
        said = ", ".join(f"{name} {json.dumps(before.get(name))}, not {json.dumps(made.get(name))}" for name in names)
        raise InputError(f"{place}: {there} was made of something else ({said}): {remedy}")


def _whole_rows(file: Path) -> int:
    """Count the rows of a file, and cut what a killed process has left behind the last whole one."""
    content = file.read_bytes()
    end = content.rfind(b"\n") + 1
    if end < len(content):
        os.truncate(file, end)
    return content.count(b"\n")
