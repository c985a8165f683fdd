"""A DataModule's settings -> its stream of training rows."""

from __future__ import annotations

from typing import Any

from dpo_lightning.data.formats import Format
from dpo_lightning.data.reading.sources import describe
from dpo_lightning.data.streaming.row_streams import open_rows
from dpo_lightning.data.streaming.stream import TrainingStream
from dpo_lightning.data.streaming.tokens import RowTokenizer
from dpo_lightning.data.tokenize import ExampleTokenizer
from dpo_lightning.data.tokenize.rows import tokens_identity
from dpo_lightning.data.tokenize.vocabulary import Vocabulary


def opened(
    source: Any, split: str, options: dict[str, Any], row_format: Format, encode: ExampleTokenizer, size: int | None
) -> TrainingStream:
    """Open a stream, and look at its first rows.

    Args:
        source: What `open_rows` takes.
        split: The split.
        options: Further arguments of `datasets.load_dataset`.
        row_format: Finds the examples in a row.
        encode: Tokenises them.
        size: Rows of the model's embedding; None where it is not known.

    Raises:
        InputError: for a source that does not stream, and for one of the first rows that cannot be read.
    """
    tokenize = RowTokenizer(row_format, encode, Vocabulary(encode.tokenizer, size))
    return TrainingStream(open_rows(source, split, options), tokenize, f"{describe(source)}, split {split}")


def content_of(stream: TrainingStream, shuffle_buffer: int) -> str:
    """Return the hash of a stream, of what decides on its tokens, and of its shuffle."""
    tokenize = stream.tokenize
    return stream.content((tokens_identity(tokenize.row_format, tokenize.encode), shuffle_buffer))
