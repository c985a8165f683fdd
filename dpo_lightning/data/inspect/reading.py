"""Rows -> what the doctor looks at: every row is read, and one that is not understood stops nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dpo_lightning.data.control_tokens import CLOSE, OPEN
from dpo_lightning.data.formats import Example, Format
from dpo_lightning.data.formats.as_messages import read_examples
from dpo_lightning.data.formats.no_preference import NoPreference
from dpo_lightning.data.inspect.columns import columns_of
from dpo_lightning.data.inspect.origins import Origins
from dpo_lightning.data.inspect.row_sources import NumberedRow, RowSource
from dpo_lightning.data.inspect.said import Said
from dpo_lightning.data.inspect.survey import TRAIN, Refused, Seen, Split
from dpo_lightning.data.tokenize import ExampleTokenizer, Outcome, RenderedExample
from dpo_lightning.data.tokenize.boundary import Boundary
from dpo_lightning.data.tokenize.rows import checked_example, render_row
from dpo_lightning.errors import InputError

_NO_LIMIT = 1 << 30


@dataclass(frozen=True)
class Block:
    """Rows that were read.

    Attributes:
        examples: What they say.
        refused: Rows that are not understood.
        undecided: Rows without a preference.
    """

    examples: list[Seen] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    undecided: list[int] = field(default_factory=list)


class ExampleReader(ABC):
    """Makes tokens, or what stands for them, of the examples of rows."""

    encode: ExampleTokenizer | None = None
    """Tokenises the examples, where there is a tokenizer."""

    @abstractmethod
    def read(self, rows: Sequence[NumberedRow], row_format: Format) -> Block:
        """Read some rows."""


class TokenReader(ExampleReader):
    """Reads rows as a training run would.

    Args:
        encode: Tokenises examples, cut to the lengths of the run.

    Attributes:
        remedy: Argument of the chat template with which prompts end as answers begin, of the first prompt that does
            not; empty where none is needed or known.
    """

    def __init__(self, encode: ExampleTokenizer) -> None:
        self.encode: ExampleTokenizer = encode
        self.remedy: Mapping[str, Any] | None = None
        self._whole = replace(encode, max_length=_NO_LIMIT, max_prompt_length=None)

    def read(self, rows: Sequence[NumberedRow], row_format: Format) -> Block:
        """Tokenise the examples of rows; those that are cut are counted whole as well."""
        found = Block()
        rendered: list[RenderedExample] = []
        for number, row in rows:
            try:
                texts = render_row(number, row, row_format, self.encode, lambda number: "")
            except InputError as error:
                found.refused.append(Refused(number, str(error).removeprefix(": ")))
                continue
            rendered += texts
            if not texts:
                found.undecided.append(number)
        found.examples.extend(self._seen(rendered))
        return found

    def _seen(self, rendered: Sequence[RenderedExample]) -> Iterator[Seen]:
        encoded = self.encode.encode(rendered)
        cut = [each for each, fitted in zip(rendered, encoded, strict=True) if fitted.truncated]
        whole = iter(self._whole.encode(cut))
        for text, fitted in zip(rendered, encoded, strict=True):
            ids = fitted.example
            lengths = next(whole).example if fitted.truncated else ids
            if fitted.boundary is Boundary.SHARED and self.remedy is None:
                self.remedy = self.encode.remedy(text.source) or {}
            yield Seen(
                text.row,
                Said.of(
                    _unquoted(text.prompt),
                    [_unquoted(_spoken(each)) for each in text.source.completions],
                    text.source.labels,
                ),
                ids.labels,
                {},
                text.templated,
                text.quotes,
                _array(ids.prompt_ids),
                [_array(each) for each in ids.completion_ids],
                fitted.outcome,
                fitted.truncated,
                (len(lengths.prompt_ids), *map(len, lengths.completion_ids)),
                fitted.boundary,
                [np.array(mask, dtype=bool) for mask in ids.scored],
            )


class WordReader(ExampleReader):
    """Reads rows without a tokenizer: a word stands for a token, and nothing is cut."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._words: list[str] = []

    def read(self, rows: Sequence[NumberedRow], row_format: Format) -> Block:
        """Number the words of the examples of rows."""
        found = Block()
        for number, row in rows:
            try:
                examples = [checked_example(each, row_format) for each in read_examples(row_format, row, str)]
            except NoPreference:
                examples = []
            except InputError as error:
                found.refused.append(Refused(number, str(error)))
                continue
            found.examples.extend(self._seen(number, each) for each in examples)
            if not examples:
                found.undecided.append(number)
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """Return the words with a space between them."""
        return " ".join(self._words[each] for each in ids)

    def _seen(self, row: int, example: Example) -> Seen:
        prompt, texts = _spoken(example.prompt), [_spoken(each) for each in example.completions]
        ids = [self._ids(text) for text in (prompt, *texts)]
        whole = tuple(map(len, ids))
        outcome = Outcome.KEPT if all(text.strip() for text in texts) else Outcome.EMPTY_COMPLETION
        if outcome == Outcome.KEPT and len(texts) > 1 and len(set(texts)) == 1:
            outcome = Outcome.IDENTICAL
        templated = not isinstance(example.prompt, str)
        said = Said.of(prompt, texts, example.labels)
        return Seen(row, said, example.labels, {}, templated, False, ids[0], ids[1:], outcome, False, whole)

    def _ids(self, text: str) -> np.ndarray:
        found = []
        for word in text.split():
            number = self._numbers.setdefault(word, len(self._words))
            if number == len(self._words):
                self._words.append(word)
            found.append(number)
        return _array(found)


def read_split(
    rows: RowSource,
    row_format: Format,
    reader: ExampleReader,
    place: str,
    *,
    name: str = TRAIN,
    advance: Callable[[int], Any] = lambda count: None,
) -> Split:
    """Read the rows of a split.

    Args:
        rows: The rows that are looked at.
        row_format: Finds the examples in a row.
        reader: Makes tokens of them.
        place: The split as messages name it.
        name: Its name in reports.
        advance: Is told how many rows were read.
    """
    columns = columns_of(rows.table, row_format, reader.encode)
    origins = Origins(columns.read)
    found = Block()
    looked_at = 0
    for block in rows.blocks():
        looked_at += len(block)
        values = {number: origins.of(row) for number, row in block}
        read = reader.read(block, row_format)
        found.examples.extend(each._replace(values=values[each.row], split=name) for each in read.examples)
        found.refused.extend(read.refused)
        found.undecided.extend(read.undecided)
        advance(len(block))
    return Split(
        place,
        rows.total,
        looked_at,
        origins.with_few(found.examples),
        sorted(found.refused),
        found.undecided,
        columns,
        (reader.remedy or {}) if isinstance(reader, TokenReader) else {},
    )


def _spoken(part: Any) -> str:
    """Return a text, or what messages say without what a template puts around it."""
    if isinstance(part, str):
        return part
    contents = (message.get("content") for message in part)
    return "\n\n".join(content if isinstance(content, str) else str(content) for content in contents if content)


def _unquoted(text: str) -> str:
    return text.replace(OPEN, "").replace(CLOSE, "")


def _array(ids: Sequence[int]) -> np.ndarray:
    return np.array(ids, dtype=np.int32)
