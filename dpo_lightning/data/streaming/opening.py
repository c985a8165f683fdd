"""A DataModule's settings -> its stream of training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dpo_lightning.data.formats.unread import check_ignored
from dpo_lightning.data.mixing.reading import check_alike
from dpo_lightning.data.mixing.source import Source
from dpo_lightning.data.reading.local_files import files_by_split
from dpo_lightning.data.reading.sources import Keys, describe, keyed, options_key, options_of_files
from dpo_lightning.data.split_reader import SplitReader
from dpo_lightning.data.streaming.file_rows import FileRows
from dpo_lightning.data.streaming.row_streams import DatasetRows, RowStream
from dpo_lightning.data.streaming.source import StreamSource
from dpo_lightning.data.streaming.stream import TrainingStream
from dpo_lightning.data.streaming.tokens import RowTokenizer
from dpo_lightning.data.tokenize.vocabulary import Vocabulary
from dpo_lightning.errors import InputError
from dpo_lightning.utils.hub import check_source
from dpo_lightning.utils.text import one_line


def opened(sources: Sequence[Source], reader: SplitReader) -> TrainingStream:
    """Open a stream, and look at the first rows of each of its sources.

    Args:
        sources: The sources; a single one has no name, and the keys of the DataModule.
        reader: The settings of the run.

    Raises:
        InputError: for a source that does not stream, for one of the first rows that cannot be read, and for sources
            that give other examples than the first one.
    """
    found = []
    for number, source in enumerate(sources):
        keys = Keys() if source.name is None else Keys.of_source(number)
        with keyed(keys.source):
            found.append(_opened(source, reader, keys))
    if found[0].name is not None:
        check_alike([str(each.name) for each in found], [each.tokenize.row_format for each in found])
    return TrainingStream(found)


def _opened(source: Source, reader: SplitReader, keys: Keys) -> StreamSource:
    encode = reader.encode(source.chat_template_kwargs or {})
    vocabulary = Vocabulary(encode.tokenizer, reader.size)
    tokenize = RowTokenizer(reader.format_of(source), encode, vocabulary, fitted=reader.fitted)
    rows = open_rows(source.dataset, source.split, source.load_options or {}, keys)
    place = f"{source.prefix}{describe(source.dataset)}, split {source.split}"
    stream = StreamSource(
        rows, tokenize, place, reader.settled, name=source.name, weight=source.weight or 1, key=keys.source
    )
    if stream.tokenize.row_format.ignore:
        reader.names.update(stream.names)
        if source.format is not None:
            check_ignored(stream.tokenize.row_format, stream.names)
    return stream


def open_rows(source: Any, split: str, options: Mapping[str, Any], keys: Keys) -> RowStream:
    """Find the rows of a source, without reading them.

    Args:
        source: An `IterableDataset` or an `IterableDatasetDict`; a file, a pattern, a list of these, or a mapping from
            split to them, as `load_rows` takes them; or the name of a data set on the hub.
        split: The split.
        options: Options of the readers of files; of a data set on the hub, further arguments of
            `datasets.load_dataset`.
        keys: Keys of source and split.

    Raises:
        InputError: for another source, for a split that is not there, and for options that mean nothing.
    """
    from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

    if isinstance(source, Dataset | DatasetDict):
        raise InputError(f"data.streaming: the rows of {keys.source} are in memory: leave data.streaming out")
    if isinstance(source, IterableDataset):
        source = IterableDatasetDict({"train": source})
    if isinstance(source, IterableDatasetDict):
        if options:
            raise InputError(
                f"{options_key(keys.source)}: {', '.join(options)} mean nothing for a stream that is given"
            )
        return DatasetRows(_split(source, split, keys.split), f"the stream, split {split}")
    files = files_by_split(source)
    if files:
        _split(files, split, keys.split)
        if "cache_dir" in options:
            raise InputError(f"{options_key(keys.source)}.cache_dir means nothing for files that stream: leave it out")
        return FileRows(files[split], options_of_files({split: files[split]}, options))
    if Path(str(source)).is_dir():
        raise InputError(f"data.streaming: {source} is a directory: give its files, as in {source}/*.jsonl")
    return DatasetRows(_of_hub(str(source), split, options, keys.source), f"{source}, split {split}")


def _split(splits: Mapping[str, Any], split: str, key: str) -> Any:
    if split not in splits:
        raise InputError(f"{key} {split!r}: a stream has the splits {', '.join(splits)}, and no slices or sums of them")
    return splits[split]


def _of_hub(name: str, split: str, options: Mapping[str, Any], key: str) -> Any:
    from datasets import load_dataset

    check_source(key, name)
    try:
        return load_dataset(name, split=split, streaming=True, **options)
    except Exception as error:  # `datasets` raises a dozen kinds
        raise InputError(f"{key}: {name}: cannot be streamed: {one_line(error, 200)}") from error
