"""Preference triples as a LightningDataModule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Optional, Union, cast

from lightning.pytorch.trainer.states import TrainerFn

from dpo_lightning.batch import first_completions
from dpo_lightning.compat.lightning import batch_sizes_sought
from dpo_lightning.data.batching import COLLATE, Batching
from dpo_lightning.data.compatibility import DataRead, check_read, checked_format
from dpo_lightning.data.epoch_position import TrainingEpoch
from dpo_lightning.data.formats import Format, RowFormat
from dpo_lightning.data.interfaces import PreferenceLearner
from dpo_lightning.data.loader import LazyLoader
from dpo_lightning.data.loader_hooks import LoaderHooks
from dpo_lightning.data.mixing.order import Order, checked_order
from dpo_lightning.data.mixing.reading import check_formats
from dpo_lightning.data.mixing.source import Source, check_alone, checked_sources
from dpo_lightning.data.reading.sources import Keys, describe, load_rows
from dpo_lightning.data.resuming import ResumeMode
from dpo_lightning.data.saved_arguments import SavedArguments
from dpo_lightning.data.settings import check_settings
from dpo_lightning.data.splits import SplitNames, Splits
from dpo_lightning.data.streaming import StreamLoader
from dpo_lightning.data.streaming.opening import content_of, opened
from dpo_lightning.data.streaming.settings import BUFFER, check_examples, check_run, check_stream, wants_stream
from dpo_lightning.data.tokenize import ExampleTokenizer
from dpo_lightning.data.tokenize.loading import load_tokenizer
from dpo_lightning.data.tokenize.rows import tokenize_rows
from dpo_lightning.data.tokenize.vocabulary import Vocabulary
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Compares, Reads
from dpo_lightning.utils.ranks import data_ranks

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase


class PreferenceDataModule(SavedArguments, LoaderHooks):
    """Loads, checks, tokenises and batches preference pairs, or single completions with a label.

    What is read is read in `prepare_data`, before a logger or a checkpoint writes anything, and cached by `datasets`.
    Training batches say what their pairs weigh, so that the loss of an optimizer step is the mean over its pairs,
    however these are spread over micro-batches and ranks.

    Args:
        dataset: A hub name, a local file (.parquet; .jsonl, .json, .csv, also .gz), a directory, a mapping from split
            to file, or a `datasets.Dataset` or `DatasetDict`. Null with `sources`.
        tokenizer: Name or directory of the tokenizer, or the tokenizer itself; null takes the policy's own.
        sources: Several sources to train on, in place of `dataset`, `train_split` and `load_options`: a list of
            `Source`, or of mappings of its arguments. Each epoch has an exact number of rows of each. `val_split`, a
            fraction or a split of each of them, then makes a set of each, with metrics `val/<name>/...`.
        streaming: Read the training rows as they come: of a `.jsonl` or `.parquet` file, a data set on the hub or an
            `IterableDataset`. The Trainer needs `max_steps`.
        shuffle_buffer: Rows that the shuffle of a stream holds; null takes 10,000, and 1 keeps their order.
        train_split: Split to train on, a slice of one, as in `train[:1000]`, or a sum, as in `train+test`.
        val_split: Split or slice to validate on, a file, or the fraction of the training split to hold out; null for
            none. A mapping from names to these makes several sets: metrics are `val/<name>/...` beside the mean over
            all as `val/...`.
        test_split: Split, slice or file that `test` and `predict` run on, or a mapping from names to these; null takes
            the validation pairs.
        load_options: Further arguments of `datasets.load_dataset`, such as `name`, `data_dir`, `revision`; and
            `keep_default_na: false` for a CSV whose texts may be `None` or `NA`.
        format: Columns and text templates; `UnpairedFormat` for objectives on single completions with a label.
        chat_template: File with a Jinja chat template that replaces the tokenizer's; null keeps it.
        max_length: Most tokens of prompt and completion together; completions keep their start.
        max_prompt_length: Most tokens of the prompt, which keeps its end; null for no limit of its own.
        batch_pairs: Most pairs of a micro-batch on each device; null takes 8, unless `batch_tokens` is given.
        batch_tokens: Instead, as many pairs as have that many tokens: prompt, chosen and rejected, each once. For the
            tree layout.
        eval_batch_pairs: Most pairs in validation, test and prediction; null takes what training takes.
        layout: `tree` packs a batch into one row without padding, in which the two completions share their prompt;
            `padded` has a row for each completion and is right for every model. `auto` takes `tree` where a self-test
            of the loaded model finds it right, and says so where it does not.
        length_grouped: Put pairs of similar length into a batch; null does so in the padded layout, where it saves
            padding, unless an `order` is given.
        order: A curriculum in every epoch: `ByLength()`, `ByMargin()` or one of your own; null shuffles the rows.
        num_workers: Processes that prepare batches; 0 prepares them in the main process.
        seed: Seed of the order, of the held-out fraction, and of the completions of other prompts that KTO reads.
        resume: With `exact`, a checkpoint goes on at its very batch, and one of other pairs, batches or ranks is
            refused; `next_epoch` leaves the rest of its epoch out, whatever has changed.

    Example:
        >>> data = PreferenceDataModule("pairs.jsonl", "Qwen/Qwen2.5-0.5B-Instruct", val_split=0.1, batch_tokens=8192)
        >>> data.max_length  # nothing is read before a Trainer, or `setup`, asks
        1024
    """

    default_batch_pairs: ClassVar[int] = 8
    """Pairs of a micro-batch where neither `batch_pairs` nor `batch_tokens` is given."""

    def __init__(  # noqa: PLR0913 - the constructor is the config
        self,
        dataset: Any = None,
        tokenizer: Any = None,
        *,
        sources: Optional[list[Union[Source, dict[str, Any]]]] = None,
        streaming: bool = False,
        shuffle_buffer: Optional[int] = None,
        train_split: str = "train",
        val_split: Optional[Union[float, str, dict[str, Union[float, str]]]] = None,
        test_split: Optional[Union[str, dict[str, str]]] = None,
        load_options: Optional[dict[str, Any]] = None,
        format: Format = RowFormat(),  # noqa: B008 - frozen
        chat_template: Optional[str] = None,
        max_length: int = 1024,
        max_prompt_length: Optional[int] = None,
        batch_pairs: Optional[int] = None,
        batch_tokens: Optional[int] = None,
        eval_batch_pairs: Optional[int] = None,
        layout: Literal["auto", "tree", "padded"] = "auto",
        length_grouped: Optional[bool] = None,
        order: Optional[Order] = None,
        num_workers: int = 0,
        seed: int = 0,
        resume: ResumeMode = "exact",
    ) -> None:
        super().__init__()
        check_settings(PreferenceDataModule, locals())
        self.sources = checked_sources(sources)
        own_split = None if train_split == "train" else train_split
        check_alone(self.sources, dataset=dataset, train_split=own_split, load_options=load_options or None)
        self.load_options = dict(load_options or {})
        self.streaming = wants_stream(dataset, streaming, self.load_options)
        names = SplitNames(None if self.streaming else train_split, val_split, test_split)
        names.check()
        by_default = batch_pairs is None and batch_tokens is None
        self.batching = Batching(
            self.default_batch_pairs if by_default else batch_pairs, batch_tokens, length_grouped, seed
        )
        self.batching.check()
        self.train_split = train_split
        if self.streaming:
            check_stream(names, self.batching, sources=bool(self.sources), order=order is not None)
        elif shuffle_buffer is not None:
            raise InputError("data.shuffle_buffer: the rows do not stream: set data.streaming, or leave it out")
        self.shuffle_buffer = BUFFER if shuffle_buffer is None else shuffle_buffer
        self.dataset = dataset
        self.format = checked_format(format)
        self.chat_template = chat_template
        self.max_length = max_length
        self.max_prompt_length = max_prompt_length
        self.eval_batch_pairs = eval_batch_pairs
        self.layout = layout
        self.num_workers = num_workers
        self.seed = seed
        self.order = checked_order(order, length_grouped)
        self.splits = Splits(names, self._tokenize, max_length=max_length, seed=seed, sources=self.sources)
        self._epoch = TrainingEpoch(self.splits, self.batching, resume, self.order)
        self._tokenizer_source = tokenizer
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._val_limit: int | float = 1.0

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, loaded at first use, with the chat template in force."""
        if self._tokenizer is None:
            if self._tokenizer_source is None:
                self._tokenizer = load_tokenizer(self._policy_name(), self.chat_template, key="model.policy")
            else:
                self._tokenizer = load_tokenizer(self._tokenizer_source, self.chat_template)
        return self._tokenizer

    def _policy_name(self) -> str:
        name = None if self._learner is None else self._learner.policy_name
        if not name:
            raise InputError("data.tokenizer: give a name or directory, since the policy has none to take it from")
        return name

    @property
    def _learner(self) -> PreferenceLearner | None:
        module = None if self.trainer is None else self.trainer.lightning_module
        return module if isinstance(module, PreferenceLearner) else None

    @property
    def _read(self) -> DataRead | None:
        return None if self._learner is None else self._learner.data_read()

    def prepare_data(self) -> None:
        """Download, check and tokenise, into the cache of `datasets`."""
        self._load()

    def setup(self, stage: str | None = None) -> None:
        """Read the tokenised examples of every split, from the cache where `prepare_data` has run."""
        if self.trainer is not None:
            check_run(self.trainer, streams=self.streaming and stage == "fit")
            self.batching.check_sought(batch_sizes_sought(self.trainer))
            in_each_stage = batch_sizes_sought(self.trainer, in_each_stage=True)
            self.batching.check_sought_in(TrainerFn(stage or "fit").value, in_each_stage, self.eval_batch_pairs)
        self._load()
        self._epoch.forget()
        if self.trainer is not None and stage == "fit" and "val" not in self.splits:
            # Lightning's switch for a fit without validation: it warns about a loader that is empty or missing.
            self._val_limit, self.trainer.limit_val_batches = self.trainer.limit_val_batches, 0

    def teardown(self, stage: str) -> None:
        """Leave the Trainer as it was, and say what a stream has dropped since its last epoch."""
        if self.stream is not None and stage == "fit":
            self.stream.report("the rest", data_ranks(self.trainer))
        if self.trainer is not None and stage == "fit" and "val" not in self.splits:
            self.trainer.limit_val_batches = self._val_limit

    def _load(self) -> None:
        read = self._read
        if self.sources:
            check_formats(self.sources, self.format)
        if read is not None:
            predicting = self.trainer is not None and self.trainer.state.fn == TrainerFn.PREDICTING
            ordered_by = frozenset(self.order.reads if self.order is not None else ())
            wanted = read._replace(columns=read.columns | ordered_by)
            for each in self.sources or [None]:
                check_read(wanted, self._format_of(each), predicting=predicting)
        if self._learner is not None:
            Vocabulary(self.tokenizer, self._learner.vocabulary()).check()
        if self.streaming:
            self._open_stream()
        self.splits.load(self.dataset, mismatched=read is not None and Reads.MISMATCHED in read.reads)

    def _open_stream(self) -> None:
        row_format, size = self._format_of(None), None if self._learner is None else self._learner.vocabulary()
        check_examples(self._read, row_format, self.batching.batch_tokens, self.max_length)
        self.stream = opened(self.dataset, self.train_split, self.load_options, row_format, self._encode({}), size)
        self.splits.stream_content = content_of(self.stream, self.shuffle_buffer)

    def _encode(self, template_arguments: dict[str, Any]) -> ExampleTokenizer:
        return ExampleTokenizer(self.tokenizer, self.max_length, self.max_prompt_length, template_arguments)

    def _format_of(self, source: Source | None) -> Format:
        return checked_format(self.format if source is None or source.format is None else source.format)

    def _tokenize(self, given: Any, split: str, keys: Keys) -> datasets.Dataset:
        source = given if isinstance(given, Source) else Source(given, load_options=self.load_options)
        rows = load_rows(source.dataset, split, source.load_options or {}, keys)
        encode = self._encode(source.chat_template_kwargs or {})
        vocabulary = None if self._learner is None else self._learner.vocabulary()
        named = "" if source.name is None else f"source {source.name}: "
        place = f"{named}{describe(source.dataset)}, split {split}"
        return tokenize_rows(rows, self._format_of(source), encode, place, vocabulary)

    def replace_dataset(self, dataset: Any) -> None:
        """Train on other rows from the next training loader on; every rank must call it, with the same rows.

        For rows that depend on the policy, such as completions that it has sampled. The training split of `dataset`,
        which is what the constructor takes, is read like the first one; validation and test rows stay. The epoch ends
        with its own rows. Lightning asks for a new loader at an epoch's begin where the Trainer has
        `reload_dataloaders_every_n_epochs=1`; with another number they wait until it does, and after the last loader
        they are those of the next fit. A schedule with an end, such as `Cosine`, goes by the steps of the first rows:
        with more of them, the rest has its last rate. Resume within an epoch with its rows, from its end with the next.

        Raises:
            InputError: before `setup`, in a run that makes no other loader, in one with a `Precomputed` reference, or
                naming the row that cannot be read.
        """
        self._epoch.before_other_rows(self.trainer, self._learner)
        self.splits.replace_training(dataset)

    def train_dataloader(self) -> Union[LazyLoader, StreamLoader]:
        """Shuffled by seed and epoch; goes on at the batch at which Lightning goes on after a restore.

        Completions that the objective does not compare are left out.

        Raises:
            InputError: for a pair that has more than `batch_tokens` tokens, a layout that does not fit the model, or
                other batches than those of the checkpoint that the run goes on from.
        """
        layout, compared = self.settled_layout(), Compares.PAIRS if self._read is None else self._read.compares
        self._epoch.settle(layout, compared.most_completions, self.trainer)
        if self.streaming:
            return self.stream_loader(layout, compared.most_completions)
        overfit = self.trainer is not None and cast(Any, self.trainer).overfit_batches > 0
        rows = self._rows_of_epochs(compared.most_completions, overfit=overfit)
        plan = self.planned(
            "train",
            self.batching,
            layout,
            shuffle=not overfit and self.order is None,
            completions=compared.most_completions,
            rows=rows,
        )
        loader = self.loader_of("train", plan, first_completions(COLLATE[layout.name], compared.most_completions))
        return self.following(loader)

    def state_dict(self) -> dict[str, Any]:
        """The position in the epoch, and what gives it its meaning."""
        return {**self._epoch.state(self.trainer), **self.stream_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on with a training run whose batches were other ones.

        What depends on the layout is compared when the training loader is built: `auto` asks the model then.

        Raises:
            InputError: naming what has changed since the checkpoint was written.
        """
        if self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            self._epoch.restore(state_dict, self.trainer)
            self.restored_stream = state_dict.get("stream", [])
