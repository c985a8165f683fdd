"""Local files of rows: which there are, and what of them no reader would say."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info

from dpo_lightning.data.reading.json_files import opened
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import one_line

_READERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_UNREAD = ("path", "revision", "trust_remote_code")  # of a local source; code of a data set never runs
_UNREAD_OF_FILES = (*_UNREAD, "name", "data_files", "data_dir")
_MAY_LIE_BESIDE = (".json",)  # what downloads and configs leave beside rows of another kind


def source_and_split(source: Any, given: str) -> tuple[Any, str]:
    """Return where a split is: in the source, or in a file that is named in its place, as `held_out.jsonl[:100]`."""
    endings = "|".join(re.escape(ending) for ending in _READERS)
    found = re.fullmatch(rf"(?P<file>.+(?:{endings})(?:\.gz)?)(?P<slice>\[[^\]]*\])?", given)
    return (source, given) if found is None else (found["file"], f"train{found['slice'] or ''}")


def files_by_split(source: str | Path | Mapping[str, Any]) -> dict[str, Path]:
    """Return the files that a source names, by split; none for a directory or a name on the hub.

    Raises:
        InputError: for a URL, a file that is not there or is none, an empty one, and one of another kind.
    """
    if isinstance(source, Mapping):
        files = {split: _path(split, path) for split, path in source.items()}
    elif _URL.match(str(source)):
        raise InputError(f"data.dataset: {source} is a URL: download it, and give the file")
    else:
        path = Path(source)
        # Of `os`, since `Path` raises where a name is too long.
        files = {"train": path} if os.path.isfile(path) or (_reader(path) and not os.path.isdir(path)) else {}
    for path in files.values():
        _check(path)
    return files


def _path(split: object, path: object) -> Path:
    if not isinstance(split, str) or not isinstance(path, str | os.PathLike) or not str(path).strip():
        given = one_line(repr({split: path}), 80)
        raise InputError(f"data.dataset: a mapping is from the name of a split to the path of its file, got {given}")
    return Path(path)


def _check(path: Path) -> None:
    if not os.path.isfile(path):
        kind = "a directory: give its files" if os.path.isdir(path) else "no file that can be read"
        raise InputError(f"{one_line(path, 200)}: {kind if os.path.lexists(path) else 'no such file'}")
    if not path.stat().st_size:
        raise InputError(f"{path}: the file is empty")
    if not _reader(path):
        raise InputError(f"{path}: not one of {', '.join(_READERS)}, with or without .gz")


def reader_of(files: Mapping[str, Path]) -> str | None:
    """Return the reader of files; None for no files.

    Raises:
        InputError: for files of several kinds.
    """
    readers = {_reader(path) for path in files.values()}
    if len(readers) > 1:
        raise InputError(f"{', '.join(map(str, files.values()))}: the files of one dataset must be of one kind")
    return next(iter(readers), None)


def _reader(path: Path) -> str | None:
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    return _READERS.get(suffixes[-1]) if suffixes else None


def check_options(options: Mapping[str, Any], *, of_files: bool) -> None:
    """Refuse options that nothing reads of a local source.

    Raises:
        InputError: naming the first.
    """
    for name in _UNREAD_OF_FILES if of_files else _UNREAD:
        if name in options:
            source = "files that data.dataset names" if of_files else "a local directory"
            raise InputError(f"data.load_options.{name} means nothing for {source}: leave it out")


def files_of_directory(directory: Path, options: Mapping[str, Any]) -> list[Path]:
    """Return the files that `datasets` reads of a directory.

    Raises:
        InputError: where files of rows would be left out, since those beside them are of another kind, or a copy of
            a file, such as `train.jsonl.bak`, would be read beside it.
    """
    from datasets import load_dataset, load_dataset_builder

    only_loaders = inspect.signature(load_dataset).parameters.keys() - (
        inspect.signature(load_dataset_builder).parameters.keys()
    )
    builder = load_dataset_builder(
        str(directory), **{name: value for name, value in options.items() if name not in only_loaders}
    )
    named = (builder.config.data_files or {}).values()
    read = [path for paths in named for path in map(Path, paths) if path.is_file()]
    if read and not options.keys() & {"name", "data_files", "data_dir"} and not _says_its_files(directory):
        _check_copies(directory, read)
        _check_left_out(directory, read)
    return read


def _check_copies(directory: Path, read: list[Path]) -> None:
    copy = next((path for path in read if path.with_suffix("") in read), None)
    if copy is not None:
        raise InputError(
            f"{directory}: {copy.name} would be read beside {copy.stem}, whose copy it seems to be: name the files to "
            "read in data.load_options.data_files"
        )


def _says_its_files(directory: Path) -> bool:
    """Return whether a dataset card names the files of its configurations: others are left out on purpose."""
    from huggingface_hub import metadata_load

    card = directory / "README.md"
    return card.is_file() and "configs" in (metadata_load(card) or {})


def _check_left_out(directory: Path, read: list[Path]) -> None:
    """Refuse rows of another kind beside those that are read, and name files of this kind that are not."""
    kind, others = _reader(read[0]), []
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory)
        hidden = any(part.startswith((".", "__")) for part in name.parts)
        if hidden or _reader(path) is None or not path.is_file():
            continue
        if _reader(path) == kind:
            others += [] if path in read else [str(name)]
        elif path.suffix not in _MAY_LIE_BESIDE:
            raise InputError(
                f"{directory}: {name} would be left out, beside {read[0].name}: name the files to read in "
                "data.load_options.data_files"
            )
    if others:
        rank_zero_info(
            f"{directory}: not read, since others bear the name of a split: {one_line(', '.join(others), 200)}; "
            "data.load_options.data_files names the files to read"
        )


def json_among(files: Iterable[Path]) -> list[Path]:
    """Return the JSON files among files."""
    return [path for path in files if _reader(path) == "json"]


def check_header(path: Path, columns: Iterable[str]) -> None:
    """Find a column that a CSV's header names twice: the reader calls the second `name.1`, and the first is taken.

    Raises:
        InputError: naming it.
    """
    names = set(columns)
    twice = sorted(name for name in names if f"{name}.1" in names)
    if not twice:
        return
    with opened(path) as file:
        header = file.readline().decode(errors="replace")
    for name in twice:
        if f"{name}.1" not in header:
            raise InputError(f"{path}: the header names `{name}` twice: give each column a name of its own")
