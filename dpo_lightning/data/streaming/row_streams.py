"""Rows of files and of `IterableDataset`s, one after the other, always in the same order."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Union

from dpo_lightning.data.reading.json_files import opened
from dpo_lightning.data.reading.local_files import files_by_split
from dpo_lightning.errors import InputError
from dpo_lightning.utils.hub import check_source
from dpo_lightning.utils.text import one_line

if TYPE_CHECKING:
    from datasets import IterableDataset

_BLOCK = 256  # rows of Parquet that are read at once


class RawRow(NamedTuple):
    """A row as it was read, which may still have to be decoded.

    Attributes:
        row: Its number in the stream, counted from 0.
        place: The file, or the data set, that it stands in.
        number: Its number there.
        content: A line of JSON, or the columns by name.
    """

    row: int
    place: str
    number: int
    content: Union[bytes, Mapping[str, Any]]

    @property
    def named(self) -> str:
        """The row as messages name it."""
        return f"{self.place}, row {self.number} (from 0)"

    def columns(self) -> Mapping[str, Any]:
        """Return the columns by name.

        Raises:
            InputError: naming the row, for what is no JSON object.
        """
        if not isinstance(self.content, bytes):
            return self.content
        try:
            found = json.loads(self.content)
        except ValueError as error:  # of its text, or of its encoding
            raise InputError(f"{self.named}: malformed JSON: {one_line(error)}") from None
        if not isinstance(found, dict):
            raise InputError(f"{self.named}: not a JSON object, but {one_line(json.dumps(found), 40)}")
        return found


class RowStream(ABC):
    """Rows that can be read again and again from the start, in the same order."""

    @abstractmethod
    def rows(self) -> Iterator[RawRow]:
        """Read all rows, from the first one on."""

    @property
    @abstractmethod
    def identity(self) -> Any:
        """Facts of the rows that are known without reading them, in plain types."""


class FileRows(RowStream):
    """Rows of files: `.jsonl` (also `.gz`) by lines, `.parquet` by groups.

    Args:
        paths: The files, in order.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    @property
    def identity(self) -> Any:
        """Names and sizes of the files."""
        return [(path.name, path.stat().st_size) for path in self.paths]

    def rows(self) -> Iterator[RawRow]:
        """Read the files one after the other."""
        row = 0
        for path in self.paths:
            contents: Iterable[Any] = _parquet(path) if path.suffix == ".parquet" else _lines(path)
            for number, content in enumerate(contents):
                yield RawRow(row, str(path), number, content)
                row += 1


class DatasetRows(RowStream):
    """Rows of an `IterableDataset`, which must have the same order each time.

    Args:
        dataset: The rows.
        place: What messages call it.
    """

    def __init__(self, dataset: IterableDataset, place: str) -> None:
        self.dataset = dataset
        self.place = place

    @property
    def identity(self) -> Any:
        """Name of it in messages."""
        return self.place

    def rows(self) -> Iterator[RawRow]:
        """Iterate over it."""
        for number, columns in enumerate(self.dataset):
            yield RawRow(number, self.place, number, columns)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with opened(path) as file:
            for line in file:
                if line.strip():
                    yield line.removeprefix(b"\xef\xbb\xbf")
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: {error}: the file is damaged, or no .gz: take a whole one") from None


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            for block in file.iter_batches(batch_size=_BLOCK):
                yield from block.to_pylist()
    except (OSError, ArrowException) as error:
        raise InputError(f"{path}: {one_line(error, 200)}") from None


def open_rows(source: Any, split: str, options: Mapping[str, Any]) -> RowStream:
    """Find the rows of a source, without reading them.

    Args:
        source: An `IterableDataset` or an `IterableDatasetDict`; a `.jsonl` (also `.gz`) or `.parquet` file, a mapping
            from split to such a file; or the name of a data set on the hub.
        split: The split.
        options: Further arguments of `datasets.load_dataset`, for one on the hub.

    Raises:
        InputError: for another source, and for a split that is not there.
    """
    from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

    if isinstance(source, Dataset | DatasetDict):
        raise InputError("data.streaming: the rows of data.dataset are in memory: leave data.streaming out")
    if isinstance(source, IterableDataset):
        source = IterableDatasetDict({"train": source})
    if isinstance(source, IterableDatasetDict):
        return DatasetRows(_split(source, split), f"the stream, split {split}")
    files = files_by_split(source)
    if files:
        if options:
            raise InputError(f"data.load_options: {', '.join(options)} mean nothing for a file that streams")
        return FileRows([_streamed(_split(files, split))])
    if Path(str(source)).is_dir():
        raise InputError(f"data.streaming: {source} is a directory: give a .jsonl or .parquet file of it")
    return DatasetRows(_of_hub(str(source), split, options), f"{source}, split {split}")


def _split(splits: Mapping[str, Any], split: str) -> Any:
    if split not in splits:
        raise InputError(
            f"data.train_split {split!r}: a stream has the splits {', '.join(splits)}, and no slices or sums of them"
        )
    return splits[split]


def _streamed(path: Path) -> Path:
    names = [suffix for suffix in path.suffixes if suffix != ".gz"]
    if names[-1:] not in ([".jsonl"], [".parquet"]):
        raise InputError(f"data.streaming: {path}: rows stream out of .jsonl, .jsonl.gz and .parquet files")
    return path


def _of_hub(name: str, split: str, options: Mapping[str, Any]) -> Any:
    from datasets import load_dataset

    check_source("data.dataset", name)
    try:
        return load_dataset(name, split=split, streaming=True, **options)
    except Exception as error:  # `datasets` raises a dozen kinds
        raise InputError(f"data.dataset: {name}: cannot be streamed: {one_line(error, 200)}") from error
