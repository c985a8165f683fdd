"""A DataModule's settings -> its stream of training rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpo_lightning.data.reading.local_files import files_by_split
from dpo_lightning.data.reading.sources import Keys, describe, keyed, options_of_files
from dpo_lightning.data.split_reader import SplitReader
from dpo_lightning.data.streaming.file_rows import FileRows
from dpo_lightning.data.streaming.row_streams import DatasetRows, RowStream
from dpo_lightning.data.streaming.stream import TrainingStream
from dpo_lightning.data.streaming.tokens import RowTokenizer
from dpo_lightning.data.tokenize.rows import tokens_identity
from dpo_lightning.data.tokenize.vocabulary import Vocabulary
from dpo_lightning.errors import InputError
from dpo_lightning.utils.hub import check_source
from dpo_lightning.utils.text import one_line


def opened(source: Any, split: str, reader: SplitReader) -> TrainingStream:
    """Open a stream, and look at its first rows.

    Args:
        source: What `open_rows` takes.
        split: The split.
        reader: The settings of the run.

    Raises:
        InputError: for a source that does not stream, and for one of the first rows that cannot be read.
    """
    with keyed(Keys().source):
        encode = reader.encode({})
        tokenize = RowTokenizer(reader.format_of(None), encode, Vocabulary(encode.tokenizer, reader.size))
        rows = open_rows(source, split, reader.load_options)
        stream = TrainingStream(rows, tokenize, f"{describe(source)}, split {split}", reader.settled)
    if stream.tokenize.row_format.ignore:
        reader.names.update(stream.names)
    return stream


def content_of(stream: TrainingStream, shuffle_buffer: int) -> str:
    """Return the hash of a stream, of what decides on its tokens, and of its shuffle."""
    tokenize = stream.tokenize
    return stream.content((tokens_identity(tokenize.row_format, tokenize.encode), shuffle_buffer))


def open_rows(source: Any, split: str, options: Mapping[str, Any]) -> RowStream:
    """Find the rows of a source, without reading them.

    Args:
        source: An `IterableDataset` or an `IterableDatasetDict`; a file, a pattern, a list of these, or a mapping from
            split to them, as `load_rows` takes them; or the name of a data set on the hub.
        split: The split.
        options: Options of the readers of files; of a data set on the hub, further arguments of
            `datasets.load_dataset`.

    Raises:
        InputError: for another source, for a split that is not there, and for options that mean nothing.
    """
    from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

    if isinstance(source, Dataset | DatasetDict):
        raise InputError("data.streaming: the rows of data.dataset are in memory: leave data.streaming out")
    if isinstance(source, IterableDataset):
        source = IterableDatasetDict({"train": source})
    if isinstance(source, IterableDatasetDict):
        if options:
            raise InputError(f"data.load_options: {', '.join(options)} mean nothing for a stream that is given")
        return DatasetRows(_split(source, split), f"the stream, split {split}")
    files = files_by_split(source)
    if files:
        _split(files, split)
        if "cache_dir" in options:
            raise InputError("data.load_options.cache_dir means nothing for files that stream: leave it out")
        return FileRows(files[split], options_of_files({split: files[split]}, options))
    if Path(str(source)).is_dir():
        raise InputError(f"data.streaming: {source} is a directory: give its files, as in {source}/*.jsonl")
    return DatasetRows(_of_hub(str(source), split, options), f"{source}, split {split}")


def _split(splits: Mapping[str, Any], split: str) -> Any:
    if split not in splits:
        raise InputError(
            f"data.train_split {split!r}: a stream has the splits {', '.join(splits)}, and no slices or sums of them"
        )
    return splits[split]


def _of_hub(name: str, split: str, options: Mapping[str, Any]) -> Any:
    from datasets import load_dataset

    check_source("data.dataset", name)
    try:
        return load_dataset(name, split=split, streaming=True, **options)
    except Exception as error:  # `datasets` raises a dozen kinds
        raise InputError(f"data.dataset: {name}: cannot be streamed: {one_line(error, 200)}") from error
