"""The rows of a DataModule: read, settled and tokenised as its settings and its module say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Optional

import lightning.pytorch as pl
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info

from dpo_lightning.data.batching import Batching
from dpo_lightning.data.cleaning import Clean
from dpo_lightning.data.compatibility import DataRead
from dpo_lightning.data.dataset import ExampleDataset
from dpo_lightning.data.example_shown import example_shown
from dpo_lightning.data.formats import Format
from dpo_lightning.data.formats.unread import check_ignored
from dpo_lightning.data.interfaces import PreferenceLearner, PreferenceSource
from dpo_lightning.data.mixing.order import Order
from dpo_lightning.data.mixing.reading import SplitTables, check_formats
from dpo_lightning.data.mixing.source import Source
from dpo_lightning.data.reading.sources import Keys, describe
from dpo_lightning.data.reading_notes import ReadingNotes
from dpo_lightning.data.split_reader import SplitReader, check_before_rows
from dpo_lightning.data.splits import Splits
from dpo_lightning.data.streaming import TrainingStream
from dpo_lightning.data.streaming.opening import opened
from dpo_lightning.data.streaming.settings import check_examples
from dpo_lightning.data.tokenize.encoding import EosRule
from dpo_lightning.data.tokenize.loading import load_tokenizer
from dpo_lightning.data.tokenize.scored import Scored
from dpo_lightning.data.tokenize.template_dates import TemplateDate
from dpo_lightning.data.tokenize.vocabulary import Vocabulary
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Reads

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase


class RowHooks(pl.LightningDataModule, PreferenceSource):
    """The part of a DataModule that reads its rows; its attributes are the arguments of `PreferenceDataModule`."""

    dataset: Any
    sources: tuple[Source, ...]
    streaming: bool
    shuffle_buffer: int
    train_split: str
    load_options: dict[str, Any]
    format: Format
    chat_template: Optional[str]
    chat_template_kwargs: dict[str, Any]
    scored: Scored
    eos: EosRule
    max_length: int
    max_prompt_length: Optional[int]
    num_proc: Optional[int]
    order: Optional[Order]
    clean: Clean
    splits: Splits
    batching: Batching
    layout: Literal["auto", "tree", "padded"]
    notes: ReadingNotes
    stream: TrainingStream | None
    _date: TemplateDate
    _reader: SplitReader
    _tokenizer_source: Any
    _tokenizer: PreTrainedTokenizerBase | None

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, loaded at first use, with the chat template in force."""
        if self._tokenizer is None:
            template = self.chat_template, self.chat_template_kwargs
            if self._tokenizer_source is None:
                self._tokenizer = load_tokenizer(self._policy_name(), *template, key="model.policy")
            else:
                self._tokenizer = load_tokenizer(self._tokenizer_source, *template)
        return self._tokenizer

    def _policy_name(self) -> str:
        name = None if self.learner is None else self.learner.policy_name
        if not name:
            raise InputError("data.tokenizer: give a name or directory, since the policy has none to take it from")
        return name

    @property
    def learner(self) -> PreferenceLearner | None:
        """The module that trains, where it can be asked what it needs."""
        module = None if self.trainer is None else self.trainer.lightning_module
        return module if isinstance(module, PreferenceLearner) else None

    @property
    def read_by_module(self) -> DataRead | None:
        """The needs of that module."""
        return None if self.learner is None else self.learner.data_read()

    @property
    def _predicting(self) -> bool:
        return self.trainer is not None and self.trainer.state.fn == TrainerFn.PREDICTING

    def read_all(self, read: DataRead | None = None) -> None:
        """Read and tokenise every split, unless it is there.

        Args:
            read: What is read of the rows, where no Trainer says so.

        Raises:
            InputError: naming the key, the row and the field.
        """
        read = self._wanted(read)
        if self.sources:
            check_formats(self.sources, self.format)
        if read is not None:
            formats = [self.format, *(each.format for each in self.sources if each.format is not None)]
            check_before_rows(read, formats, predicting=self._predicting)
        if self.learner is not None:
            Vocabulary(self.tokenizer, self.learner.vocabulary()).check()
        self._reader = self._reader_of(read)
        if self.streaming:
            self._open_stream()
        self.splits.load(self.dataset, mismatched=read is not None and Reads.MISMATCHED in read.reads)
        if self._reader.names:
            check_ignored(self.format, self._reader.names)

    def _wanted(self, read: DataRead | None) -> DataRead | None:
        """Return the needs of the objective, which `read` says where no Trainer does, and of the order of the rows."""
        read = self.read_by_module or read
        ordered_by = frozenset(self.order.reads if self.order is not None else ())
        return read and read._replace(columns=read.columns | ordered_by)

    def reader(self, read: DataRead | None = None) -> SplitReader:
        """Return what reads its splits, by the settings in force.

        Args:
            read: What is read of the rows, where no Trainer says so.
        """
        return self._reader_of(self._wanted(read))

    def _reader_of(self, read: DataRead | None) -> SplitReader:
        self._date.settle(self.tokenizer)
        return SplitReader(
            self.tokenizer,
            self.format,
            read,
            self._predicting,
            None if self.learner is None else self.learner.vocabulary(),
            load_options=self.load_options,
            max_length=self.max_length,
            max_prompt_length=self.max_prompt_length,
            template_arguments=self.chat_template_kwargs,
            template_date=self._date.value,
            scored=self.scored,
            eos=self.eos,
            num_proc=self.num_proc,
            notes=self.notes,
        )

    def _open_stream(self) -> None:
        own = Source(self.dataset, self.train_split, load_options=self.load_options)
        self.stream = opened(self.sources or (own,), self._reader)
        for source in self.stream.sources:
            row_format = source.tokenize.row_format
            check_examples(self.read_by_module, row_format, self.batching.batch_tokens, self.max_length)
        self.splits.stream_content = self.stream.content(self.shuffle_buffer)
        self.splits.stream_sources = self.stream.states()

    def tokenize_split(self, given: Any, split: str, keys: Keys) -> datasets.Dataset:
        """Read and tokenise a split, see `SplitReader.tokenized`."""
        return self._reader.tokenized(given, split, keys)

    def without_unclean(
        self, rows: Mapping[str, datasets.Dataset], place: str, sizes: Mapping[str, int]
    ) -> SplitTables:
        """Leave out of the training rows what `clean` says."""
        return self.clean(rows, place, self.tokenizer.batch_decode, sizes)

    def __repr__(self) -> str:
        """Return what it reads, and how many examples it has once they are read; Lightning would walk the loaders."""
        given = ", ".join(str(each.name) for each in self.sources) if self.sources else describe(self.dataset)
        size, limit = "batch_pairs", self.batching.batch_pairs
        if limit is None:
            size, limit = "batch_tokens", self.batching.batch_tokens
        read = [f"{split} {len(self.splits[split]):,}" for split in ("train", "val", "test") if self.splits.has(split)]
        there = "a stream" if self.streaming else ", ".join(read) or "not read yet"
        return f"{type(self).__name__}({given}: {there}; {size}={limit}, layout={self.layout})"

    __str__ = __repr__

    def show_first(self) -> None:
        """Say what the first training example is, decoded, with what is scored marked."""
        first = ExampleDataset(self.splits["train"])[0] if self.stream is None else self.stream.first
        rank_zero_info(
            f"the first example of the training split, row {first.row}; what is scored stands between [[ and ]]:\n"
            + example_shown(self.tokenizer, first)
        )
