"""Sources of rows: a hub name, a file, a directory, or a dataset in memory."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dpo_lightning.data.json_files import examine, raise_on_malformed
from dpo_lightning.errors import InputError
from dpo_lightning.utils.hub import check_source
from dpo_lightning.utils.logs import log_level

if TYPE_CHECKING:
    from datasets import Dataset

_READERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}

# In one chunk a column has one type, or is kept as it is. `datasets` takes the type from the first 10 MB, and would
# turn a list of messages behind them into text.
_READER_OPTIONS = {"json": {"chunksize": 1 << 30}}


def load_rows(source: Any, split: str, options: Mapping[str, Any]) -> Dataset:
    """Load one split.

    Args:
        source: A hub name, a local file (`.jsonl`, `.json`, `.parquet`, `.csv`, also `.gz`), a directory (of
            such files, or written by `save_to_disk`), a mapping from split to file, a `datasets.Dataset` (its one
            split is `train`) or a `DatasetDict`.
        split: A split, a slice of one, or a sum: `train`, `train[:1000]`, `test[90%:]`, `train+test`.
        options: Further arguments of `datasets.load_dataset`: `name`, `data_dir`, `revision`, ...

    Raises:
        InputError: naming the source, and the line of a malformed JSON file.
    """
    return _take(_load_splits(source, options), split, describe(source))


def source_and_split(source: Any, given: str) -> tuple[Any, str]:
    """Return where a split is: in the source, or in a file that is named in its place, as `held_out.jsonl[:100]`."""
    endings = "|".join(re.escape(ending) for ending in _READERS)
    found = re.fullmatch(rf"(?P<file>.+(?:{endings})(?:\.gz)?)(?P<slice>\[[^\]]*\])?", given)
    return (source, given) if found is None else (found["file"], f"train{found['slice'] or ''}")


def describe(source: Any) -> str:
    """The source as messages name it."""
    if isinstance(source, str | Path):
        return str(source)
    return ", ".join(map(str, source.values())) if type(source) is dict else "the dataset in memory"


def _take(splits: Mapping[str, Dataset], split: str, place: str) -> Dataset:
    from datasets import ReadInstruction, concatenate_datasets

    sizes = {name: len(rows) for name, rows in splits.items()}
    try:
        parts = ReadInstruction.from_spec(split).to_absolute(sizes)
    except ValueError as error:
        raise InputError(f"{place}: split {split!r}: {_first_line(error)}") from None
    taken = [splits[part.splitname].select(range(part.from_, part.to)) for part in parts if part.from_ < part.to]
    if not taken:
        raise InputError(f"{place}: split {split!r} has no rows")
    return taken[0] if len(taken) == 1 else concatenate_datasets(taken)


def _load_splits(source: Any, options: Mapping[str, Any]) -> Mapping[str, Dataset]:
    from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

    if isinstance(source, IterableDataset | IterableDatasetDict):
        raise InputError("the dataset streams: its rows must be known before training, so load it without streaming")
    in_memory = isinstance(source, Dataset | DatasetDict)
    if in_memory and options:
        raise InputError(f"data.load_options: {', '.join(options)} mean nothing for rows in memory: leave them out")
    if in_memory:
        return source if isinstance(source, DatasetDict) else {"train": source}
    if not isinstance(source, str | Path | dict) or not source:
        raise InputError(f"data.dataset: give a hub name, a file, a directory or a `datasets.Dataset`, not {source!r}")
    return _load(source, options)


def _load(source: str | Path | dict[str, Any], options: Mapping[str, Any]) -> Mapping[str, Dataset]:
    from datasets import Dataset, DatasetDict, load_dataset, load_from_disk

    files = _local_files(source)
    reader = _reader_of(files)
    json_files = list(files.values()) if reader == "json" else []
    examine(json_files)
    try:
        # The readers would log an error that is raised as well.
        with log_level("datasets.packaged_modules", logging.CRITICAL):
            if reader:
                paths = {split: str(path) for split, path in files.items()}
                loaded = load_dataset(reader, data_files=paths, **{**_READER_OPTIONS.get(reader, {}), **options})
            elif _saved_to_disk(str(source)):
                loaded = load_from_disk(str(source), **options).with_format(None)  # rows as they are, in no other type
            else:
                check_source("data.dataset", str(source))
                loaded = load_dataset(str(source), **options)
    except InputError:
        raise
    except Exception as error:  # `datasets` raises a dozen kinds, several of them bare
        raise_on_malformed(json_files)
        raise _load_error(source, error) from error
    if isinstance(loaded, Dataset) and _saved_to_disk(str(source)):
        return {"train": loaded}
    if not isinstance(loaded, DatasetDict):
        raise InputError("data.load_options: take out `streaming` (rows must be known) and `split` (data.train_split)")
    _check_columns(loaded, describe(source))
    return cast(Mapping[str, Any], loaded)


def _load_error(source: Any, error: Exception) -> InputError:
    from datasets.exceptions import DatasetGenerationError

    empty = re.search('Instruction "(.+)" corresponds to no data', str(error))
    if empty:
        return InputError(f"{describe(source)}: split {empty[1]!r} has no rows")
    cause = error.__cause__ if isinstance(error, DatasetGenerationError) and error.__cause__ else error
    return InputError(f"{describe(source)}: cannot be loaded: {_first_line(cause)}")


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _check_columns(splits: Mapping[str, Dataset], place: str) -> None:
    """Pandas takes the leading fields of a CSV whose rows are longer than its header for row names."""
    if any(name.startswith("__index_level_") for rows in splits.values() for name in rows.column_names):
        raise InputError(f"{place}: the rows have more fields than the header: put fields with commas in quotes")


def _saved_to_disk(source: str) -> bool:
    return any((Path(source) / name).is_file() for name in ("state.json", "dataset_dict.json"))


def _local_files(source: str | Path | dict[str, Any]) -> dict[str, Path]:
    if isinstance(source, dict):
        files = {split: Path(path) for split, path in source.items()}
    else:
        path = Path(source)
        files = {"train": path} if path.is_file() or (_reader(path) and not path.is_dir()) else {}
    for path in files.values():
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        if not path.stat().st_size:
            raise InputError(f"{path}: the file is empty")
        if not _reader(path):
            raise InputError(f"{path}: not one of {', '.join(_READERS)}, with or without .gz")
    return files


def _reader_of(files: Mapping[str, Path]) -> str | None:
    readers = {_reader(path) for path in files.values()}
    if len(readers) > 1:
        raise InputError(f"{', '.join(map(str, files.values()))}: the files of one dataset must be of one kind")
    return next(iter(readers), None)


def _reader(path: Path) -> str | None:
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    return _READERS.get(suffixes[-1]) if suffixes else None
