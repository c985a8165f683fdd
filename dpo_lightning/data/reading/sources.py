"""Sources of rows: a hub name, a file, a directory, or a dataset in memory."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from dpo_lightning.data.reading.json_files import examine, raise_on_malformed
from dpo_lightning.data.reading.local_files import (
    check_header,
    check_options,
    files_by_split,
    files_of_directory,
    json_among,
    reader_of,
)
from dpo_lightning.errors import InputError
from dpo_lightning.utils.hub import check_source
from dpo_lightning.utils.logs import log_level
from dpo_lightning.utils.settings import at_least

if TYPE_CHECKING:
    from datasets import Dataset

_NO_ROWS = "BatchSize must be greater than 0"  # what the reader of Parquet says of a file without any
# In one chunk a column has one type, or is kept as it is. `datasets` takes the type from the first 10 MB, and would
# turn a list of messages behind them into text.
_READER_OPTIONS = {"json": {"chunksize": 1 << 30}}


class Keys(NamedTuple):
    """Keys of a config that a source and its split were given by, as messages name them."""

    source: str = "data.dataset"
    split: str = "data.train_split"


def load_rows(source: Any, split: str, options: Mapping[str, Any], keys: Keys = Keys()) -> Dataset:  # noqa: B008 - frozen
    """Load one split.

    Args:
        source: A hub name, a local file (`.jsonl`, `.json`, `.parquet`, `.csv`, also `.gz`), a directory (of
            such files, or written by `save_to_disk`), a mapping from split to file, a `datasets.Dataset` (its one
            split is `train`) or a `DatasetDict`.
        split: A split, a slice of one, or a sum: `train`, `train[:1000]`, `test[90%:]`, `train+test`.
        options: Further arguments of `datasets.load_dataset`: `name`, `data_dir`, `revision`, ...
        keys: Keys of source and split.

    Raises:
        InputError: naming the key, the source, and the line of a malformed JSON file.
    """
    with _keyed(keys.source):
        splits = _load_splits(source, options)
    with _keyed(keys.split):
        return _take(splits, split, describe(source))


@contextmanager
def _keyed(key: str) -> Iterator[None]:
    """Put the key before what is said of a source, where it has none yet."""
    try:
        yield
    except InputError as error:
        if str(error).startswith(("data.dataset: ", "data.load_options")):
            raise
        raise InputError(f"{key}: {error}") from error.__cause__


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
    if options.get("num_proc") is not None:  # `datasets` would say so under its progress bar, or read what it has kept
        at_least(1).check("data.load_options.num_proc", options["num_proc"])
    files = files_by_split(source)
    reader = reader_of(files)
    is_directory = not files and os.path.isdir(str(source))  # `Path` raises where a name is too long
    if files or is_directory:
        check_options(options, of_files=bool(files))
    read = list(files.values())
    try:
        # The readers would log an error that is raised as well.
        with log_level("datasets.packaged_modules", logging.CRITICAL):
            if is_directory and not _saved_to_disk(str(source)):
                read = files_of_directory(Path(str(source)), options)
            examine(json_among(read))
            loaded = _loaded(source, reader, files, options)
    except InputError:
        raise
    except Exception as error:  # `datasets` raises a dozen kinds, several of them bare
        raise_on_malformed(json_among(read))
        raise _load_error(source, options, error) from error
    return _splits_of(loaded, source, files if reader == "csv" else {})


def _splits_of(loaded: Any, source: Any, csv_files: Mapping[str, Path]) -> Mapping[str, Dataset]:
    """Return what was loaded by split, after a look at its columns."""
    from datasets import Dataset, DatasetDict

    if isinstance(loaded, Dataset) and _saved_to_disk(str(source)):
        return {"train": loaded}
    if not isinstance(loaded, DatasetDict):
        raise InputError("data.load_options: take out `streaming` (rows must be known) and `split` (data.train_split)")
    _check_columns(loaded, describe(source))
    for split, path in csv_files.items():
        check_header(path, loaded[split].column_names)
    return cast(Mapping[str, Any], loaded)


def _loaded(source: Any, reader: str | None, files: Mapping[str, Path], options: Mapping[str, Any]) -> Any:
    from datasets import load_dataset, load_from_disk

    if reader:
        paths = {split: str(path) for split, path in files.items()}
        return load_dataset(reader, data_files=paths, **{**_READER_OPTIONS.get(reader, {}), **options})
    if _saved_to_disk(str(source)):
        return load_from_disk(str(source), **options).with_format(None)  # rows as they are, in no other type
    check_source("data.dataset", str(source))
    return load_dataset(str(source), **options)


def _load_error(source: Any, options: Mapping[str, Any], error: Exception) -> InputError:
    from datasets.exceptions import DatasetGenerationError

    empty = re.search('Instruction "(.+)" corresponds to no data', str(error))
    if empty:
        return InputError(f"{describe(source)}: split {empty[1]!r} has no rows")
    cause = error.__cause__ if isinstance(error, DatasetGenerationError) and error.__cause__ else error
    if isinstance(cause, StopIteration) or _NO_ROWS in str(cause):
        return InputError(f"{describe(source)}: the file has no rows")
    given = f" (data.load_options gave {', '.join(options)})" if options else ""
    remedy = ": save it as UTF-8" if isinstance(cause, UnicodeDecodeError) else ""
    return InputError(f"{describe(source)}: cannot be loaded: {_first_line(cause)}{remedy}{given}")


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _check_columns(splits: Mapping[str, Dataset], place: str) -> None:
    """Pandas takes the leading fields of a CSV whose rows are longer than its header for row names."""
    if any(name.startswith("__index_level_") for rows in splits.values() for name in rows.column_names):
        raise InputError(f"{place}: the rows have more fields than the header: put fields with commas in quotes")


def _saved_to_disk(source: str) -> bool:
    return any(os.path.isfile(os.path.join(source, name)) for name in ("state.json", "dataset_dict.json"))
