"""The record of a run: what it leaves in its directory for a report, as plain files."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo_lightning.errors import InputError
from dpo_lightning.utils.files import replaced

FOLDER = "record"
"""Name of the record's folder in the directory of a run, which is the Trainer's `log_dir`."""


@dataclass(frozen=True)
class RunRecord:
    """The files that a run writes beside its config, each in JSON.

    Numbers that JSON has no word for, NaN and infinities, are written as null.

    Args:
        run: Directory of the run, in which `config.yaml` lies.

    Attributes:
        facts: `run.json`: what ran, on what, how it ended.
        points: `metrics.jsonl`: a line each log, with `step`, `seconds` since the start, and each value by its name.
        pairs: `pairs.jsonl`: a line each held-out example, of the last whole validation.
        worst: `worst.jsonl`: the held-out pairs that are most wrong, with their texts.
        samples: `samples.jsonl`: a line each prompt and time of sampling, from policy and reference.
        hints: `hints.jsonl`: a line each hint that was given.
        data: `data.json`: what the doctor says of a sample of the rows.
    """

    run: Path

    @property
    def folder(self) -> Path:
        """Directory of the files."""
        return self.run / FOLDER

    @property
    def facts(self) -> Path:
        """Facts: what ran, on what, how it ended."""
        return self.folder / "run.json"

    @property
    def points(self) -> Path:
        """The curves."""
        return self.folder / "metrics.jsonl"

    @property
    def pairs(self) -> Path:
        """Scores of each held-out example."""
        return self.folder / "pairs.jsonl"

    @property
    def worst(self) -> Path:
        """Held-out pairs that are most wrong."""
        return self.folder / "worst.jsonl"

    @property
    def samples(self) -> Path:
        """Samples from policy and reference."""
        return self.folder / "samples.jsonl"

    @property
    def hints(self) -> Path:
        """Hints that were given."""
        return self.folder / "hints.jsonl"

    @property
    def data(self) -> Path:
        """Findings of the doctor in the data."""
        return self.folder / "data.json"


def add_row(path: Path, row: Mapping[str, Any]) -> None:
    """Append a row as a line, which is in the file when this returns; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(_line(row))


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as lines in the place of what is there; the file is whole or as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(map(_line, rows))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file, none where there is no file; a last line that a kill has cut is left out.

    Raises:
        InputError: naming the file and the line that is none.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    whole = lines[:-1]  # what follows the last line break is empty, or cut
    return list(_rows(path, whole))


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document in the place of what is there; the file is whole or as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as temporary:
        temporary.write_text(json.dumps(_plain(document), indent=1) + "\n", encoding="utf-8")


def read_document(path: Path) -> dict[str, Any] | None:
    """Return the document in a file; None where there is no file.

    Raises:
        InputError: for a file that is no JSON object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: a {type(found).__name__}, not an object")
    return found


def _rows(path: Path, lines: Sequence[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: no JSON object: the file is damaged")
        yield row


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(_plain(row)) + "\n"


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: what is not finite as null, paths as texts."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value
