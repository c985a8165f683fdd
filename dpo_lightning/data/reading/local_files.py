"""Local files of rows: which a source names, by split, and by what they are read."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dpo_lightning.data.reading.arrow_files import arrow_blocks, parquet_blocks
from dpo_lightning.data.reading.csv_files import csv_blocks
from dpo_lightning.data.reading.json_files import json_blocks
from dpo_lightning.data.reading.packed import SUFFIXES, suffix_of
from dpo_lightning.data.reading.store import Reader, ReadFile
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import one_line

READERS: Mapping[str, Reader] = {
    "json": json_blocks,
    "csv": csv_blocks,
    "parquet": parquet_blocks,
    "arrow": arrow_blocks,
}
"""Readers by the kind of file, as `datasets` calls it."""

_KINDS = {
    ".jsonl": "json",
    ".json": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".arrow": "arrow",
}
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_ENDINGS = "|".join(map(re.escape, _KINDS))
_PACKED = "|".join(map(re.escape, SUFFIXES))
_AS_SPLIT = re.compile(rf"(?P<file>.+(?:{_ENDINGS})(?:{_PACKED})?)(?P<slice>\[[^\]]*\])?")


def source_and_split(source: Any, given: str) -> tuple[Any, str]:
    """Return where a split is: in the source, or in a file that is named in its place, as `held_out.jsonl[:100]`."""
    found = _AS_SPLIT.fullmatch(given)
    return (source, given) if found is None else (found["file"], f"train{found['slice'] or ''}")


def files_by_split(source: str | Path | Sequence[Any] | Mapping[str, Any]) -> dict[str, list[ReadFile]]:
    """Return the files that a source names, by split; none for a directory or a name on the hub.

    A name with `*`, `?` or `[` stands for the files that it matches, in the order of their names.

    Raises:
        InputError: for a URL, a file that is not there or is none, an empty one, one that is named twice, and one of
            another kind.
    """
    if isinstance(source, Mapping):
        named = {_split(split, files): _paths(files, split) for split, files in source.items()}
    elif isinstance(source, list | tuple):
        named = {"train": _paths(source, "train")}
    else:
        named = {"train": paths} if (paths := _one_or_none(source)) else {}
    return {split: [_checked(path) for path in paths] for split, paths in named.items()}


def _split(split: object, files: object) -> str:
    if not isinstance(split, str) or not split.strip():
        raise _no_mapping(split, files)
    return split


def _no_mapping(split: object, files: object) -> InputError:
    given = one_line(repr({split: files}), 80)
    return InputError(
        f"data.dataset: a mapping is from the name of a split to the path of its file, or to a list, got {given}"
    )


def _paths(files: Any, split: object) -> list[Path]:
    given = [*files] if isinstance(files, list | tuple) else [files]
    if not given or not all(isinstance(each, str | os.PathLike) and str(each).strip() for each in given):
        raise _no_mapping(split, files)
    paths = [path for each in given for path in _matching(each)]
    _check_twice(paths)
    return paths


def _check_twice(paths: Sequence[Path]) -> None:
    """Refuse a file that is named twice, also by another path or a link."""
    named: dict[Any, Path] = {}
    for path in paths:
        stat = path.stat() if os.path.isfile(path) else None
        other = named.setdefault(path if stat is None else (stat.st_dev, stat.st_ino), path)
        if other is not path:
            also = "" if other == path else f", also as {one_line(other, 200)}"
            raise InputError(f"{one_line(path, 200)}: the file is named twice{also}")


def _matching(name: str | os.PathLike[str]) -> list[Path]:
    if os.path.lexists(name) or not glob.has_magic(str(name)):  # of `os`, since `Path` raises where a name is too long
        return [Path(name)]
    found = sorted(path for path in glob.glob(os.path.expanduser(name), recursive=True) if os.path.isfile(path))
    if not found:
        raise InputError(f"{one_line(name, 200)}: no file has such a name")
    return [Path(path) for path in found]


def _one_or_none(source: Any) -> list[Path]:
    """Return the files that a name stands for; none where it is that of a directory, or of something on the hub."""
    if _URL.match(str(source)):
        raise InputError(f"data.dataset: {source} is a URL: download it, and give the file")
    is_name = os.path.isfile(source) or kind_of(Path(source)) is not None or glob.has_magic(str(source))
    return _matching(source) if is_name and not os.path.isdir(source) else []


def _checked(path: Path) -> ReadFile:
    if not os.path.isfile(path):
        kind = "a directory: give its files" if os.path.isdir(path) else "no file that can be read"
        raise InputError(f"{one_line(path, 200)}: {kind if os.path.lexists(path) else 'no such file'}")
    if not path.stat().st_size:
        raise InputError(f"{path}: the file is empty")
    reader = kind_of(path)
    if reader is None:
        raise InputError(f"{path}: not one of {', '.join(_KINDS)}, with or without {', '.join(SUFFIXES)}")
    return ReadFile(path, reader, READERS[reader])


def kind_of(path: Path) -> str | None:
    """Return the kind of a file by its name; None for one that is none of rows."""
    return _KINDS.get(suffix_of(path))


def shown_files(source: Sequence[Any] | Mapping[str, Any]) -> str:
    """Return the names that a source gives, for a message."""
    return one_line(", ".join(map(str, _flat(source))), 200)


def _flat(source: Any) -> Iterator[Any]:
    for each in source.values() if isinstance(source, Mapping) else source:
        if isinstance(each, list | tuple):
            yield from each
        else:
            yield each
