"""Where rows come from: a hub name, a file, a directory, or a dataset in memory."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpo_lightning.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset

_READERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}


def load_rows(source: Any, split: str, options: Mapping[str, Any]) -> Dataset:
    """Load one split.

    Args:
        source: A hub name, a local file (``.jsonl``, ``.json``, ``.parquet``, ``.csv``, also ``.gz``), a directory,
            a mapping from split to file, a ``datasets.Dataset`` (its one split is ``train``) or a ``DatasetDict``.
        split: A split, or a slice of one: ``train``, ``train[:1000]``, ``test[90%:]``.
        options: Further arguments of ``datasets.load_dataset``: ``name``, ``data_dir``, ``revision``, ...

    Raises:
        InputError: naming the source, and the line of a malformed JSON file.
    """
    from datasets import Dataset, DatasetDict

    if isinstance(source, DatasetDict):
        if split not in source:
            raise InputError(f"the dataset has no split {split!r}; it has {', '.join(source)}")
        rows = source[split]
    elif isinstance(source, Dataset):
        if split != "train":
            raise InputError(f"a dataset in memory has the one split `train`, not {split!r}: pass a DatasetDict")
        rows = source
    else:
        rows = _load(source, split, options)
    if not len(rows):
        raise InputError(f"{describe(source)}: split {split!r} has no rows")
    return rows


def describe(source: Any) -> str:
    """The source as messages name it."""
    if isinstance(source, str):
        return source
    return ", ".join(map(str, source.values())) if type(source) is dict else "the dataset in memory"


def _load(source: Any, split: str, options: Mapping[str, Any]) -> Dataset:
    from datasets import load_dataset, load_from_disk

    files = _local_files(source)
    try:
        if files:
            reader = _reader(next(iter(files.values())))
            return load_dataset(reader, data_files={k: str(v) for k, v in files.items()}, split=split, **options)
        if (Path(source) / "state.json").is_file():
            return load_from_disk(source)
        return load_dataset(source, split=split, **options)
    except Exception as error:  # `datasets` raises a dozen kinds, several of them bare
        for path in files.values():
            _raise_on_malformed_json(path)
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{describe(source)}: cannot load split {split!r}: {first_line}") from error


def _local_files(source: Any) -> dict[str, Path]:
    files = {split: Path(path) for split, path in source.items()} if isinstance(source, dict) else {}
    if isinstance(source, str) and (Path(source).is_file() or _reader(Path(source))):
        files = {"train": Path(source)}
    for path in files.values():
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        if not path.stat().st_size:
            raise InputError(f"{path}: the file is empty")
        if not _reader(path):
            raise InputError(f"{path}: not one of {', '.join(_READERS)}, with or without .gz")
    return files


def _reader(path: Path) -> str | None:
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    return _READERS.get(suffixes[-1]) if suffixes else None


def _raise_on_malformed_json(path: Path) -> None:
    """Find what `datasets` could not read: its own message names neither line nor reason."""
    if _reader(path) != "json":
        return
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            if ".jsonl" not in path.suffixes:
                json.load(file)
                return
            types: dict[str, type] = {}
            for number, line in enumerate(file, start=1):
                if line.strip():
                    _check_json_line(f"{path}: line {number}", line, types)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: line {error.lineno}: malformed JSON: {error.msg}") from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}") from None


def _check_json_line(place: str, line: str, types: dict[str, type]) -> None:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{place}: malformed JSON: {error.msg} (column {error.colno})") from None
    if not isinstance(row, dict):
        raise InputError(f"{place}: not a JSON object")
    for field, value in row.items():
        expected = types.setdefault(field, type(value)) if value is not None else type(None)
        if value is not None and type(value) is not expected:
            raise InputError(f"{place}, field `{field}`: {type(value).__name__}, but earlier {expected.__name__}")
