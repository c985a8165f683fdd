"""The data of a config, read by the doctor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from dpo_lightning import PreferenceDataModule, Source
from dpo_lightning.cli.parsers.inspect import MOST_ROWS
from dpo_lightning.data import Format
from dpo_lightning.data.compatibility import DataRead, checked_format
from dpo_lightning.data.formats.settled import first_rows, settled_format
from dpo_lightning.data.inspect import Split, Survey
from dpo_lightning.data.inspect.reading import ExampleReader, TokenReader, WordReader, read_split
from dpo_lightning.data.inspect.row_sources import RowSource, StreamRows, TableRows
from dpo_lightning.data.inspect.survey import TRAIN
from dpo_lightning.data.reading.local_files import source_and_split
from dpo_lightning.data.reading.sources import Keys, describe, keyed, load_rows
from dpo_lightning.data.streaming.opening import open_rows
from dpo_lightning.data.tokenize.first_look import is_meant
from dpo_lightning.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Place(NamedTuple):
    """A split, and where it is.

    Attributes:
        name: `train`, `val`, `val/<name>`, ...; of several sources `train/<source>`.
        source: The source; one without a name has the settings of the DataModule.
        split: Split of the source.
        keys: Keys of a config that it was given by.
        streams: Whether its rows stream.
    """

    name: str
    source: Source
    split: str
    keys: Keys
    streams: bool = False

    @property
    def said(self) -> str:
        """The split as messages name it."""
        return f"{self.source.prefix}{describe(self.source.dataset)}, split {self.split}"


def places(data: PreferenceDataModule) -> Iterator[Place]:
    """Yield the splits of a DataModule that are read; a share of `train` that is held out is none."""
    own = data.sources or (Source(data.dataset, split=data.train_split, load_options=data.load_options),)
    for number, source in enumerate(own):
        keys = Keys.of_source(number) if data.sources else Keys()
        yield Place(_named(TRAIN, source), source, source.split, keys, data.streaming)
    for split in ("val", "test"):
        for name, place in data.splits.names.sets(split).items():
            if not isinstance(place, str):
                continue
            key = f"data.{split}_split{name and f'.{name}'}"
            file, of_file = source_and_split(None, place)
            if file is not None:
                others = [Source(file, load_options=data.load_options)]
                keys = Keys(key, key)
            else:
                others, keys = [*own], Keys(key, key) if data.sources else Keys(split=key)
            for each in others:
                yield Place(_named(f"{split}/{name}" if name else split, each), each, of_file, keys)


def _named(split: str, source: Source) -> str:
    return split if source.name is None else f"{split}/{source.name}"


def held_out_share(data: PreferenceDataModule) -> float:
    """Return the share of the training rows that is held out for validation; 0 where none is."""
    shares = [place for place in data.splits.names.sets("val").values() if isinstance(place, float)]
    return shares[0] if shares else 0.0


@contextmanager
def _no_bar(text: str, rows: int) -> Iterator[Callable[[int], Any]]:
    yield lambda count: None


def survey(
    data: PreferenceDataModule,
    tokenizer: PreTrainedTokenizerBase | None,
    read: DataRead | None = None,
    *,
    most_rows: int = MOST_ROWS,
    bar: Callable[[str, int], Any] = _no_bar,
) -> Survey:
    """Read all splits of a DataModule, row by row.

    Args:
        data: Says what to read, and how.
        tokenizer: None counts words.
        read: What the objective reads of the rows; None where there is none.
        most_rows: Read a sample of so many rows of a split where there are more, and so many of a stream.
        bar: Makes a context that yields a function which moves a bar by a number of rows; there is
            none by default.

    Raises:
        InputError: for a source that cannot be read, and for rows that are of no format.
    """
    opened = _WordOpener(data, read) if tokenizer is None else _TokenOpener(data, read)
    splits: dict[str, Split] = {}
    formats: dict[str, Format] = {}
    for place in places(data):
        rows, row_format = opened.rows(place, most_rows)
        formats[place.name] = row_format
        with bar(f"reading {place.said}", rows.looked_at) as advance:
            try:
                splits[place.name] = read_split(
                    rows, row_format, opened.reader(place), place.said, name=place.name, advance=advance
                )
            except UnicodeDecodeError as error:
                raise InputError(f"{place.said}: not UTF-8: {error}") from None
    said = {_said(row_format, splits[name]): None for name, row_format in formats.items() if name.startswith(TRAIN)}
    return Survey(
        ", ".join(describe(source.dataset) for source in data.sources) or describe(data.dataset),
        "; ".join(said),
        splits,
        opened.words.decode if tokenizer is None else tokenizer.decode,
        max_length=None if tokenizer is None else data.max_length,
        batch_pairs=data.batching.batch_pairs or data.default_batch_pairs,
        seed=data.seed,
        unit="words" if tokenizer is None else "tokens",
        has_template=tokenizer is not None
        and tokenizer.chat_template is not None
        and not any(map(is_meant, formats.values())),
        bos=None if tokenizer is None else tokenizer.bos_token_id,
        eos=None if tokenizer is None or data.eos == "never" else tokenizer.eos_token_id,
        held_out_share=held_out_share(data),
    )


def _said(row_format: Format, split: Split) -> str:
    columns = ", ".join(f"`{name}`" for name in split.columns.read)
    return f"{type(row_format).__name__}, from the columns {columns}" if columns else type(row_format).__name__


@dataclass(frozen=True)
class _WordOpener:
    """Opens splits as a run does, where there is no tokenizer."""

    data: PreferenceDataModule
    read: DataRead | None
    words: WordReader = field(default_factory=WordReader)

    def rows(self, place: Place, most: int) -> tuple[RowSource, Format]:
        """Return the rows of a split that are looked at, and their format.

        Raises:
            InputError: as a run does.
        """
        source = place.source
        given = checked_format(self.data.format if source.format is None else source.format)
        ignored = given.ignore or ()
        options = source.load_options or {}
        if place.streams:
            with keyed(place.keys.source):
                stream = StreamRows(open_rows(source.dataset, place.split, options, place.keys), ignored, most)
                return stream, self.settled(given, stream.head, place.said)
        rows = load_rows(source.dataset, place.split, options, place.keys)
        with keyed(place.keys.source):
            found = self.settled(given, first_rows(rows, place.said), place.said)
        return TableRows(rows, ignored, most, self.data.seed), found

    def settled(self, given: Format, first: Any, place: str) -> Format:
        """Return the format of rows by the first of them."""
        return settled_format(given, first, place, None if self.read is None else self.read.compares.given_by)

    def reader(self, place: Place) -> ExampleReader:
        """Return what reads the examples of a split."""
        return self.words


class _TokenOpener(_WordOpener):
    """Opens splits as a run does."""

    def settled(self, given: Format, first: Any, place: str) -> Format:
        """Return the format of rows by the first of them, compared with what the objective reads."""
        return self.data.reader(self.read).settled(given, first, place)

    def reader(self, place: Place) -> ExampleReader:
        """Return what reads the examples of a split."""
        return TokenReader(self.data.reader(self.read).encode(place.source.chat_template_kwargs or {}))
