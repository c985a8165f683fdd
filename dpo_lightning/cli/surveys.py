"""The data of a config, read by the doctor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from dpo_lightning import PreferenceDataModule
from dpo_lightning.data import Format, UnpairedFormat
from dpo_lightning.data.inspect import Split, Survey
from dpo_lightning.data.inspect.reading import ExampleReader, TokenReader, WordReader, read_split
from dpo_lightning.data.inspect.survey import TRAIN
from dpo_lightning.data.reading.local_files import source_and_split
from dpo_lightning.data.reading.sources import Keys, describe, load_rows
from dpo_lightning.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

_FIRST = 20  # rows by which a format is recognised


class Place(NamedTuple):
    """A split, and where it is.

    Attributes:
        name: `train`, `val`, `val/<name>`, ...
        source: What `load_rows` takes.
        split: Split of the source.
        keys: Keys of a config that it was given by.
    """

    name: str
    source: Any
    split: str
    keys: Keys


def places(data: PreferenceDataModule) -> Iterator[Place]:
    """Yield the splits of a DataModule that are read; a share of `train` that is held out is none."""
    names = data.splits.names
    if names.train is not None:
        yield Place(TRAIN, data.dataset, names.train, Keys())
    for split in ("val", "test"):
        for name, place in names.sets(split).items():
            if isinstance(place, str):
                source, own = source_and_split(data.dataset, place)
                key = f"data.{split}_split"
                keys = Keys(split=key) if source is data.dataset else Keys(key, key)
                yield Place(f"{split}/{name}" if name else split, source, own, keys)


def held_out_share(data: PreferenceDataModule) -> float:
    """Return the share of the training rows that is held out for validation; 0 where none is."""
    shares = [place for place in data.splits.names.sets("val").values() if isinstance(place, float)]
    return shares[0] if shares else 0.0


def survey(
    data: PreferenceDataModule,
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    most_rows: int | None = None,
    recognise: bool = False,
    bar: Callable[[str, int], Any],
) -> Survey:
    """Read all splits of a DataModule, row by row.

    Args:
        data: Says what to read, and how.
        tokenizer: None counts words.
        most_rows: Read a sample of so many rows of a split where there are more.
        recognise: Also try the format of labelled completions, where the DataModule's own does not read the first row.
        bar: Makes a context that yields a function which moves a bar by a number of rows.

    Raises:
        InputError: for a source that cannot be read.
    """
    words = WordReader()
    reader: ExampleReader = words
    if tokenizer is not None:
        reader = TokenReader(tokenizer, data.max_length, data.max_prompt_length)
    row_format: Format | None = None
    splits: dict[str, Split] = {}
    for each in places(data):
        rows = load_rows(each.source, each.split, data.load_options, each.keys)
        if row_format is None:
            row_format = _format_for(rows, data.format, recognise)
        place = f"{describe(each.source)}, split {each.split}"
        with bar(f"reading {place}", len(rows)) as advance:
            splits[each.name] = read_split(
                rows, row_format, reader, place, most_rows=most_rows, seed=data.seed, advance=advance
            )
    columns = ", ".join(f"`{name}`" for name in splits[TRAIN].read)
    return Survey(
        describe(data.dataset),
        f"{type(row_format).__name__}, from the columns {columns}" if columns else type(row_format).__name__,
        splits,
        words.decode if tokenizer is None else tokenizer.decode,
        max_length=None if tokenizer is None else data.max_length,
        batch_pairs=data.batching.batch_pairs or data.default_batch_pairs,
        seed=data.seed,
        unit="words" if tokenizer is None else "tokens",
        has_template=tokenizer is not None and tokenizer.chat_template is not None,
        bos=None if tokenizer is None else tokenizer.bos_token_id,
        eos=None if tokenizer is None else tokenizer.eos_token_id,
        held_out_share=held_out_share(data),
    )


def _format_for(rows: Dataset, given: Format, recognise: bool) -> Format:
    first = [rows[number] for number in range(min(_FIRST, len(rows)))]
    found = given.found_in(first)
    if not recognise or _reads(found, first[0]):
        return found
    labelled = UnpairedFormat()
    return labelled if _reads(labelled, first[0]) else found


def _reads(row_format: Format, row: dict[str, Any]) -> bool:
    try:
        row_format.examples(row)
    except InputError:
        return False
    return True
