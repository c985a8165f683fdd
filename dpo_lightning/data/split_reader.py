"""A split of a source -> tokenised rows, as the settings of a run say."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dpo_lightning.data.compatibility import DataRead, check_fewest, check_read, checked_format
from dpo_lightning.data.formats import Format
from dpo_lightning.data.formats.settled import first_rows, settled_format
from dpo_lightning.data.formats.unread import check_ignored, names_in
from dpo_lightning.data.mixing.source import Source
from dpo_lightning.data.reading.row_names import RowNames
from dpo_lightning.data.reading.sources import Keys, describe, keyed, load_split
from dpo_lightning.data.reading_notes import ReadingNotes
from dpo_lightning.data.tokenize import ExampleTokenizer
from dpo_lightning.data.tokenize.encoding import EosRule
from dpo_lightning.data.tokenize.rows import tokenize_rows
from dpo_lightning.data.tokenize.scored import Scored

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class SplitReader:
    """Reads splits, settles their formats, and tokenises them.

    Args:
        tokenizer: The tokenizer of the run.
        format: Format of sources that name none.
        read: What the objective and the order of the rows read; None where nobody says so.
        predicting: Whether rewards alone are asked for.
        size: Rows of the model's embedding; None where it is not known.
        load_options: Further arguments of `datasets.load_dataset`.
        max_length: As `ExampleTokenizer` has it.
        max_prompt_length: As `ExampleTokenizer` has it.
        template_arguments: As `ExampleTokenizer` has it; those of a source come before them.
        template_date: As `ExampleTokenizer` has it.
        scored: As `ExampleTokenizer` has it.
        eos: As `ExampleTokenizer` has it.
        num_proc: Processes that tokenise.
        notes: Takes what is said of formats, and what is dropped.
        names: Takes what `Format.ignore` may name, of each split that is read.
    """

    tokenizer: PreTrainedTokenizerBase
    format: Format
    read: DataRead | None
    predicting: bool
    size: int | None
    load_options: Mapping[str, Any]
    max_length: int
    max_prompt_length: int | None
    template_arguments: Mapping[str, Any]
    template_date: datetime.date | None
    scored: Scored
    eos: EosRule
    num_proc: int | None
    notes: ReadingNotes = field(default_factory=ReadingNotes)
    names: set[str] = field(default_factory=set)

    def tokenized(self, given: Any, split: str, keys: Keys) -> datasets.Dataset:
        """Read and tokenise a split.

        Args:
            given: What `load_rows` takes, or a source of several.
            split: The split.
            keys: Keys of the config that gave both.

        Raises:
            InputError: naming the key, the file, the row and the field.
        """
        source = given if isinstance(given, Source) else Source(given, load_options=dict(self.load_options))
        rows, files = load_split(source.dataset, split, source.load_options or {}, keys)
        place = f"{source.prefix}{describe(source.dataset)}, split {split}"
        named = RowNames(place, [each._replace(path=f"{source.prefix}{each.path}") for each in files])
        with keyed(keys.source):
            row_format = self.settled(self.format_of(source), first_rows(rows, place), place)
            if row_format.ignore:
                names = names_in(rows)
                self.names.update(names)
                if source.format is not None:
                    check_ignored(row_format, names)
            encode = self.encode(source.chat_template_kwargs or {})
            dropped: dict[str, int] = {}
            encoded = tokenize_rows(rows, row_format, encode, place, self.size, self.num_proc, named, dropped)
            self.notes.dropped[place] = dropped
            if self.fitted is not None:
                check_fewest(self.fitted, encoded, named)
            return encoded

    @property
    def fitted(self) -> DataRead | None:
        """The needs of the loss; None where none is taken."""
        return None if self.predicting else self.read

    def settled(self, row_format: Format, first: Sequence[Mapping[str, Any]], place: str) -> Format:
        """Return the format that rows are read by, after a look at the first of them.

        Raises:
            InputError: where none reads them, or not what the objective reads.
        """
        wanted = None if self.read is None else self.read.compares.given_by
        found = settled_format(row_format, first, place, wanted, self.notes.tell)
        if self.read is not None:
            check_read(self.read, found, predicting=self.predicting)
        return found

    def format_of(self, source: Source | None) -> Format:
        """Return the format of a source, before its rows are looked at."""
        return checked_format(self.format if source is None or source.format is None else source.format)

    def encode(self, template_arguments: Mapping[str, Any]) -> ExampleTokenizer:
        """Return the tokenizer of examples, with these further arguments of the chat template."""
        return ExampleTokenizer(
            self.tokenizer,
            self.max_length,
            self.max_prompt_length,
            scored=self.scored,
            template_arguments={**self.template_arguments, **template_arguments},
            template_date=self.template_date,
            eos=self.eos,
        )


def check_before_rows(read: DataRead, formats: Sequence[Format], *, predicting: bool) -> None:
    """Compare what is read with the formats, as far as that needs no look at the rows.

    Raises:
        InputError: as `check_read` does.
    """
    for each in map(checked_format, formats):
        check_read(read, each, predicting=predicting)
