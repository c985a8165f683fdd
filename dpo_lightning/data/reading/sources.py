"""Sources of rows: a hub name, files, a directory, or a dataset in memory."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dpo_lightning.data.reading.built import Built, check_directory, loader_options
from dpo_lightning.data.reading.local_files import files_by_split, shown_files
from dpo_lightning.data.reading.options import FileOptions
from dpo_lightning.data.reading.plain import plain_rows
from dpo_lightning.data.reading.row_names import rows_between
from dpo_lightning.data.reading.store import Loaded, ReadFile, read_files
from dpo_lightning.errors import InputError
from dpo_lightning.utils.hub import check_source
from dpo_lightning.utils.logs import log_level
from dpo_lightning.utils.settings import at_least
from dpo_lightning.utils.text import one_line

if TYPE_CHECKING:
    from datasets import Dataset

_NO_ROWS = "BatchSize must be greater than 0"  # what the reader of Parquet says of a file without any
_UNREAD = ("path", "revision", "trust_remote_code")  # of a local source; code of a data set never runs
_UNREAD_OF_FILES = (*_UNREAD, "name", "data_files", "data_dir")

Splits = Mapping[str, Callable[[], Loaded]]
"""How each split of a source is read."""


class Keys(NamedTuple):
    """Keys of a config that a source and its split were given by, as messages name them."""

    source: str = "data.dataset"
    split: str = "data.train_split"

    @classmethod
    def of_source(cls, number: int) -> Keys:
        """Return the keys of one of several sources, counted from 0."""
        return cls(f"data.sources[{number}].dataset", f"data.sources[{number}].split")


def load_rows(source: Any, split: str, options: Mapping[str, Any], keys: Keys = Keys()) -> Dataset:  # noqa: B008 - frozen
    """Load the rows of one split, see `load_split`."""
    return load_split(source, split, options, keys).rows


def load_split(source: Any, split: str, options: Mapping[str, Any], keys: Keys = Keys()) -> Loaded:  # noqa: B008 - frozen
    """Load one split, and where its rows stand, unless that is the source itself.

    Every value is what the file says. Columns of text, of booleans, of whole numbers, or of other numbers are columns
    of these types; any other one, such as lists of messages, is kept as JSON text and is its values again in a row. A
    CSV has columns of text only. A column of classes gives their names.

    Args:
        source: A hub name; a local file (`.jsonl`, `.json`, `.ndjson`, `.parquet`, `.csv`, `.tsv`, `.arrow`, also
            `.gz`, `.zst`, `.bz2`), a pattern such as `data/*.jsonl`, or a list of these; a directory (of such files, or
            written by `save_to_disk`), a mapping from split to file, pattern or list, a `datasets.Dataset` (its one
            split is `train`) or a `DatasetDict`.
        split: A split, a slice of one, or a sum: `train`, `train[:1000]`, `test[90%:]`, `train+test`.
        options: Options of the readers of files; of a hub name or a directory also arguments of
            `datasets.load_dataset`: `name`, `data_dir`, `revision`, ...
        keys: Keys of source and split.

    Raises:
        InputError: naming the key, the source, and the line or the row that cannot be read.
    """
    with keyed(keys.source):
        splits = _splits_of(source, options)
        rows = {name: read() if name in _names_in(split) else None for name, read in splits.items()}
    with keyed(keys.split):
        taken = _take(rows, split, describe(source))
    named = {each.path for each in taken.files}
    return taken._replace(files=()) if named == {str(source)} else taken


@contextmanager
def keyed(key: str) -> Iterator[None]:
    """Put the key before what is said of a source, where it has none yet; its options are those beside the key.

    Raises:
        InputError: in the place of another one.
    """
    try:
        yield
    except InputError as error:
        if str(error).startswith("data.load_options"):
            raise InputError(str(error).replace("data.load_options", options_key(key), 1)) from error.__cause__
        if str(error).startswith("data."):
            raise
        raise InputError(f"{key}: {error}") from error.__cause__


def options_key(key: str) -> str:
    """Return the key of the options that a source is read with: of several, those of its own."""
    return f"{key.removesuffix('dataset')}load_options" if key.endswith(".dataset") else "data.load_options"


def describe(source: Any) -> str:
    """The source as messages name it."""
    if isinstance(source, str | Path):
        return str(source)
    return shown_files(source) if type(source) in (dict, list, tuple) else "the dataset in memory"


def _names_in(split: str) -> set[str]:
    """Return the splits that a slice, or a sum of slices, is made of."""
    return {part.partition("[")[0].strip() for part in split.split("+")}


def _take(splits: Mapping[str, Loaded | None], split: str, place: str) -> Loaded:
    from datasets import ReadInstruction, concatenate_datasets

    sizes = {name: 0 if read is None else len(read.rows) for name, read in splits.items()}
    try:
        parts = ReadInstruction.from_spec(split).to_absolute(sizes)
    except ValueError as error:
        raise InputError(f"{place}: split {split!r}: {_first_line(error)}") from None
    named = [(splits[part.splitname], part) for part in parts if part.from_ < part.to]
    taken = [read.rows.select(range(part.from_, part.to)) for read, part in named if read is not None]
    if not taken:
        raise InputError(f"{place}: split {split!r} has no rows")
    files = [each for read, part in named if read is not None for each in rows_between(read.files, part.from_, part.to)]
    return Loaded(taken[0] if len(taken) == 1 else concatenate_datasets(taken), files)


def _splits_of(source: Any, options: Mapping[str, Any]) -> Splits:
    from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

    if isinstance(source, IterableDataset | IterableDatasetDict):
        raise InputError("the dataset streams: its rows must be known before training, so load it without streaming")
    in_memory = isinstance(source, Dataset | DatasetDict)
    if in_memory and options:
        raise InputError(f"data.load_options: {', '.join(options)} mean nothing for rows in memory: leave them out")
    if in_memory:
        return _plain(source if isinstance(source, DatasetDict) else {"train": source})
    if not isinstance(source, str | Path | dict | list) or not source:
        raise InputError(
            "data.dataset: give a hub name, a file, a list of files, a directory or a `datasets.Dataset`, not "
            f"{one_line(repr(source), 80)}"
        )
    if options.get("streaming") or options.get("split"):
        raise InputError("data.load_options: take out `streaming` (rows must be known) and `split` (data.train_split)")
    if options.get("num_proc") is not None:  # `datasets` would say so under its progress bar, or read what it has kept
        at_least(1).check("data.load_options.num_proc", options["num_proc"])
    files = files_by_split(source)
    return _of_files(files, options) if files else _of_name(str(source), options)


def _plain(splits: Mapping[str, Dataset]) -> Splits:
    return {name: partial(_in_memory, rows) for name, rows in splits.items()}


def _in_memory(rows: Dataset) -> Loaded:
    return Loaded(plain_rows(rows))


def options_of_files(files: Mapping[str, list[ReadFile]], options: Mapping[str, Any]) -> FileOptions:
    """Return how files are read, by `data.load_options`.

    Args:
        files: The files by split.
        options: The options.

    Raises:
        InputError: for an option that means nothing for them, or a value that it cannot be.
    """
    _check_unread(options, _UNREAD_OF_FILES, "files that data.dataset names")
    read = {name: value for name, value in options.items() if name not in ("cache_dir", "streaming")}
    return FileOptions.of(read, {file.kind for each in files.values() for file in each})


def _of_files(files: Mapping[str, list[ReadFile]], options: Mapping[str, Any]) -> Splits:
    how = options_of_files(files, options)
    return {split: partial(read_files, each, how, options.get("cache_dir")) for split, each in files.items()}


def _check_unread(options: Mapping[str, Any], unread: Iterable[str], what: str) -> None:
    for name in unread:
        if name in options:
            raise InputError(f"data.load_options.{name} means nothing for {what}: leave it out")


def _of_name(name: str, options: Mapping[str, Any]) -> Splits:
    """Return the splits of a directory, or of something on the hub."""
    is_directory = os.path.isdir(name)
    if is_directory:
        _check_unread(options, _UNREAD, "a local directory")
    check_source("data.dataset", name)
    try:
        # The readers would log an error that is raised as well.
        with log_level("datasets.packaged_modules", logging.CRITICAL):
            return _on_disk(name, options) if _saved_to_disk(name) else _built(name, options, is_directory)
    except InputError:
        raise
    except Exception as error:  # `datasets` raises a dozen kinds, several of them bare
        raise _load_error(name, options, error) from error


def _on_disk(name: str, options: Mapping[str, Any]) -> Splits:
    from datasets import Dataset, load_from_disk

    loaded = load_from_disk(name, **options).with_format(None)  # rows as they are, in no other type
    return _plain({"train": loaded} if isinstance(loaded, Dataset) else loaded)


def _built(name: str, options: Mapping[str, Any], is_directory: bool) -> Splits:
    from datasets import load_dataset

    built = Built(name, options)
    if is_directory:
        check_directory(Path(name), built.files, options)
    if not built.is_read_here:
        return _plain(load_dataset(name, **options))
    if is_directory:
        _check_unread(options, loader_options() - {"streaming", "split"}, "files on this machine")
    return {split: partial(built.read, split) for split in built.files}


def _load_error(name: str, options: Mapping[str, Any], error: Exception) -> InputError:
    from datasets.exceptions import DatasetGenerationError

    empty = re.search('Instruction "(.+)" corresponds to no data', str(error))
    if empty:
        return InputError(f"{name}: split {empty[1]!r} has no rows")
    cause = error.__cause__ if isinstance(error, DatasetGenerationError) and error.__cause__ else error
    if isinstance(cause, StopIteration) or _NO_ROWS in str(cause):
        return InputError(f"{name}: the file has no rows")
    given = f" (data.load_options gave {', '.join(options)})" if options else ""
    remedy = ": save it as UTF-8" if isinstance(cause, UnicodeDecodeError) else ""
    return InputError(f"{name}: cannot be loaded: {_first_line(cause)}{remedy}{given}")


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _saved_to_disk(source: str) -> bool:
    return any(os.path.isfile(os.path.join(source, name)) for name in ("state.json", "dataset_dict.json"))
