"""A DataModule's settings -> its stream of training rows."""

from __future__ import annotations

from typing import Any

from dpo_lightning.data.reading.sources import describe
from dpo_lightning.data.split_reader import SplitReader
from dpo_lightning.data.streaming.row_streams import open_rows
from dpo_lightning.data.streaming.stream import TrainingStream
from dpo_lightning.data.streaming.tokens import RowTokenizer
from dpo_lightning.data.tokenize.rows import tokens_identity
from dpo_lightning.data.tokenize.vocabulary import Vocabulary


def opened(source: Any, split: str, reader: SplitReader) -> TrainingStream:
    """Open a stream, and look at its first rows.

    Args:
        source: What `open_rows` takes.
        split: The split.
        reader: The settings of the run.

    Raises:
        InputError: for a source that does not stream, and for one of the first rows that cannot be read.
    """
    encode = reader.encode({})
    tokenize = RowTokenizer(reader.format_of(None), encode, Vocabulary(encode.tokenizer, reader.size))
    rows = open_rows(source, split, reader.load_options)
    return TrainingStream(rows, tokenize, f"{describe(source)}, split {split}", reader.settled)


def content_of(stream: TrainingStream, shuffle_buffer: int) -> str:
    """Return the hash of a stream, of what decides on its tokens, and of its shuffle."""
    tokenize = stream.tokenize
    return stream.content((tokens_identity(tokenize.row_format, tokenize.encode), shuffle_buffer))
