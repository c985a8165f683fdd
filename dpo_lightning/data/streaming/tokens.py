"""Raw rows -> tokenised examples, a chunk at a time, in the processes of a loader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, NamedTuple, Union

import torch
from torch.utils.data import DataLoader, Dataset

from dpo_lightning.batch import TokenizedExample
from dpo_lightning.batch.columns import SOURCE
from dpo_lightning.data.compatibility import DataRead, too_few
from dpo_lightning.data.formats import Format
from dpo_lightning.data.formats.as_messages import read_examples
from dpo_lightning.data.formats.recorded import Path
from dpo_lightning.data.formats.unread import unread_beyond
from dpo_lightning.data.reading.sources import Keys, keyed
from dpo_lightning.data.streaming.row_streams import RawRow
from dpo_lightning.data.tokenize import ExampleTokenizer, Outcome, RenderedExample
from dpo_lightning.data.tokenize.outcomes import REPEATS
from dpo_lightning.data.tokenize.rows import render_row
from dpo_lightning.data.tokenize.vocabulary import Vocabulary
from dpo_lightning.errors import InputError, prefixed
from dpo_lightning.utils.processes import end_quietly

_CHUNK = 64  # rows that are tokenised at once

Position = tuple[int, int]
"""Place in a rank's shuffled rows: so many are done, and so many kept examples of the next one."""


class Taken(NamedTuple):
    """A kept example, and the position behind it."""

    example: TokenizedExample
    position: Position


NumberedRow = tuple[int, RawRow]
"""A row with its number among the shuffled rows of its rank."""


class Chunk(NamedTuple):
    """Raw rows in a row of a rank's shuffled rows, the first of which has this number."""

    first: int
    rows: list[RawRow]


TRUNCATED = "truncated"

Fate = tuple[int, Union[Outcome, str]]
"""Number of a source, and what became of an example of it; those that are kept may be `TRUNCATED` or `REPEATS` too."""


class Tokenized(NamedTuple):
    """Examples of a chunk, and the fate of all of them.

    Attributes:
        taken: The examples that are kept.
        counted: How many examples had which fate.
        unread: What nobody reads and the first rows do not have, by number of the source and name, in how many rows.
        error: What is wrong with a row, to be raised where it is read.
    """

    taken: list[Taken]
    counted: Mapping[Fate, int]
    unread: Mapping[tuple[int, str], int]
    error: InputError | None = None


@dataclass(frozen=True)
class RowTokenizer:
    """Tokenises rows of a source.

    Args:
        row_format: Finds the examples in a row.
        encode: Tokenises them.
        vocabulary: The tokens that the model has.
        columns: Columns that rows have; a row without one has null there.
        name: Name of the source where there are several; examples then say it as `data_source`.
        found: Where the first rows, which were looked at, have values.
        key: Key of the config that gave the source, for messages.
        fitted: The needs of the loss, which say how many completions an example has at least; None for no loss.
    """

    row_format: Format
    encode: ExampleTokenizer
    vocabulary: Vocabulary
    columns: tuple[str, ...] = ()
    name: str | None = None
    found: frozenset[Path] | None = None
    key: str = Keys().source
    fitted: DataRead | None = None

    def tokenized(self, rows: Sequence[NumberedRow]) -> Tokenized:
        """Tokenise rows of the source, one or more.

        Args:
            rows: The rows, each with its number among the shuffled rows of the rank.

        Raises:
            InputError: naming the key and the row.
        """
        with keyed(self.key):
            return self._tokenized(rows)

    def _tokenized(self, rows: Sequence[NumberedRow]) -> Tokenized:
        columns = [self._columns(raw) for _, raw in rows]
        given = [
            (number, raw, rendered)
            for (number, raw), each in zip(rows, columns, strict=True)
            for rendered in self._rendered(raw, each)
        ]
        encoded = self.encode.encode([rendered for _, _, rendered in given])
        taken: list[Taken] = []
        kept_of_row: Counter[int] = Counter()
        for (number, raw, _), found in zip(given, encoded, strict=True):
            if found.outcome == Outcome.KEPT:
                ids = chain(found.example.prompt_ids, *found.example.completion_ids)
                self.vocabulary.check_ids(ids, raw.named)
                if self.fitted is not None and len(found.example.completion_ids) < self.fitted.fewest:
                    raise too_few(self.fitted, len(found.example.completion_ids), raw.named)
                kept_of_row[number] += 1
                taken.append(Taken(self._named(found.example._replace(row=raw.row)), (number, kept_of_row[number])))
        of = rows[0][1].source
        counted: Counter[Fate] = Counter((of, each.outcome) for each in encoded)
        counted[of, Outcome.NO_PREFERENCE] += len(rows) - len({number for number, _, _ in given})
        counted[of, TRUNCATED] = sum(each.truncated for each in encoded if each.outcome == Outcome.KEPT)
        counted[of, REPEATS] = sum(each.repeats for each in encoded)
        unread = Counter(
            (of, name) for (_, raw), each in zip(rows, columns, strict=True) for name in self._unread(raw, each)
        )
        return Tokenized(taken, counted, unread)

    def _named(self, example: TokenizedExample) -> TokenizedExample:
        if self.name is None:
            return example
        return example._replace(columns={**example.columns, SOURCE: self.name})

    def _columns(self, raw: RawRow) -> dict[str, Any]:
        ignored = self.row_format.ignore or ()
        columns = {**dict.fromkeys(self.columns), **raw.columns()}
        return {name: value for name, value in columns.items() if name not in ignored}

    def _unread(self, raw: RawRow, columns: Mapping[str, Any]) -> list[str]:
        """Return what nobody reads of a row, by name, where the first rows have no values."""
        if self.found is None:
            return []
        with prefixed(f"{raw.named}: "):
            return unread_beyond(
                columns,
                self.row_format,
                self.found,
                lambda row: read_examples(self.row_format, row, self.encode.quote),
            )

    def _rendered(self, raw: RawRow, columns: Mapping[str, Any]) -> list[RenderedExample]:
        return render_row(raw.row, columns, self.row_format, self.encode, lambda number: raw.named)


@dataclass(frozen=True)
class StreamTokenizer(Dataset[Tokenized]):
    """Tokenises chunks; a process of a loader gets the rows themselves in place of their numbers.

    Args:
        sources: Tokenise the rows of each source.
    """

    sources: Sequence[RowTokenizer]

    def __getitem__(self, chunk: Chunk) -> Tokenized:
        """Tokenise a chunk; an error goes along, since torch would put a traceback around it."""
        try:
            return self.tokenized(chunk)
        except InputError as error:
            return Tokenized([], {}, {}, error)

    def tokenized(self, chunk: Chunk) -> Tokenized:
        """Tokenise a chunk; its examples keep their order.

        Raises:
            InputError: naming the row.
        """
        rows: dict[int, list[NumberedRow]] = {}
        for number, raw in enumerate(chunk.rows, chunk.first):
            rows.setdefault(raw.source, []).append((number, raw))
        found = [self.sources[source].tokenized(own) for source, own in rows.items()]
        taken = sorted((each for part in found for each in part.taken), key=lambda each: each.position)
        counted = {fate: count for part in found for fate, count in part.counted.items()}
        return Tokenized(taken, counted, {name: count for part in found for name, count in part.unread.items()})


def chunks(rows: Iterable[RawRow], first: int) -> Iterator[Chunk]:
    """Cut rows into chunks; `first` is the number of the first one."""
    rest = iter(rows)
    while found := list(islice(rest, _CHUNK)):
        yield Chunk(first, found)
        first += len(found)


def tokenized_chunks(
    tokenize: StreamTokenizer, given: Iterator[Chunk], *, num_workers: int, seed: int
) -> Iterator[Tokenized]:
    """Tokenise chunks in their order, whatever the number of processes.

    Raises:
        InputError: naming the row that cannot be read.
    """
    loader: Any = DataLoader(
        tokenize,
        batch_size=None,
        sampler=_Once(given),
        collate_fn=_same,
        num_workers=num_workers,
        worker_init_fn=end_quietly,
        # Starting an iteration draws a seed; without its own generator it would draw from the global one.
        generator=torch.Generator().manual_seed(seed),
    )
    for found in loader:
        if found.error is not None:
            raise found.error
        yield found


def examples_from(found: Iterable[Tokenized], start: Position, count: Callable[[Tokenized], None]) -> Iterator[Taken]:
    """Yield the examples behind a position; `count` is told of each chunk."""
    for each in found:
        count(each)
        yield from (taken for taken in each.taken if taken.position > start)


class _Once:
    """An iterator as a sampler, which torch begins once."""

    def __init__(self, given: Iterator[Chunk]) -> None:
        self._given = given

    def __iter__(self) -> Iterator[Chunk]:
        return self._given


def _same(found: Any) -> Any:
    return found
