"""Preference triples as a LightningDataModule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Optional, Union, cast

from lightning.pytorch.trainer.states import TrainerFn

from dpo_lightning.batch import first_completions
from dpo_lightning.compat.lightning import batch_sizes_sought
from dpo_lightning.data.batching import COLLATE, Batching
from dpo_lightning.data.cleaning import Clean, checked_clean
from dpo_lightning.data.compatibility import checked_format
from dpo_lightning.data.epoch_position import TrainingEpoch
from dpo_lightning.data.formats import AutoFormat, Format
from dpo_lightning.data.held_out import HeldOutBy
from dpo_lightning.data.loader import LazyLoader
from dpo_lightning.data.loader_hooks import LoaderHooks
from dpo_lightning.data.mixing.order import Order, checked_order
from dpo_lightning.data.mixing.source import Source, check_alone, checked_sources
from dpo_lightning.data.reading_notes import ReadingNotes
from dpo_lightning.data.resuming import ResumeMode
from dpo_lightning.data.row_hooks import RowHooks
from dpo_lightning.data.saved_arguments import SavedArguments
from dpo_lightning.data.settings import check_settings
from dpo_lightning.data.splits import SplitNames, Splits
from dpo_lightning.data.streaming import StreamLoader
from dpo_lightning.data.streaming.settings import (
    check_run,
    check_stream,
    checked_buffer,
    streamed_sources,
    wants_stream,
)
from dpo_lightning.data.tokenize.encoding import EosRule
from dpo_lightning.data.tokenize.scored import Scored
from dpo_lightning.data.tokenize.template_dates import TemplateDate
from dpo_lightning.losses import Compares
from dpo_lightning.utils.ranks import data_ranks

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class PreferenceDataModule(SavedArguments, RowHooks, LoaderHooks):
    """Loads, checks, tokenises and batches preference pairs, or completions with a label.

    What is read is read in `prepare_data`, before a logger or a checkpoint writes anything, and cached by `datasets`.
    Training batches say what their pairs weigh, so that the loss of an optimizer step is the mean over its pairs,
    however these are spread over micro-batches and ranks.

    Args:
        dataset: A hub name; a local file (.jsonl, .json, .ndjson, .parquet, .csv, .tsv, .arrow, also .gz, .zst, .bz2),
            a pattern such as `data/*.jsonl`, or a list of these; a directory, a mapping from split to file, pattern or
            list, or a `datasets.Dataset` or `DatasetDict`. Values are what the file says: a CSV has texts only.
            Null with `sources`.
        tokenizer: Name or directory of the tokenizer, or the tokenizer itself; null takes the policy's own.
        sources: Several sources to train on, in place of `dataset`, `train_split` and `load_options`: a list of
            `Source`, or of mappings of its arguments. Each epoch has an exact number of rows of each. `val_split`, a
            fraction or a split of each of them, then makes a set of each, with metrics `val/<name>/...`.
        streaming: Read the training rows as they come: of files, a data set on the hub or an
            `IterableDataset`, or of `sources` of these, each with a weight. The Trainer needs `max_steps`.
        shuffle_buffer: Rows that the shuffle of a stream holds; null takes 10,000, and 1 keeps their order.
        train_split: Split to train on, a slice of one, as in `train[:1000]`, or a sum, as in `train+test`.
        val_split: Split or slice to validate on, a file, or the fraction of the training split to hold out; null for
            none. A mapping from names to these makes several sets: metrics are `val/<name>/...` beside the mean over
            all as `val/...`.
        val_split_by: What a fraction holds out as a whole: source rows, whose examples are all on one side, or also
            prompts, where several rows have the same one.
        test_split: Split, slice or file that `test` and `predict` run on, or a mapping from names to these; null takes
            the validation pairs.
        load_options: Further arguments of `datasets.load_dataset` for a hub name or a directory, such as `name`,
            `data_dir`, `revision`; of files `cache_dir`, `encoding`, the `field` of a JSON file that has the rows, and
            `sep`, `quotechar` and `keep_default_na: false` of a CSV, whose empty fields are then no null.
        format: Reads the rows; by default, the format that the first rows have, see `docs/formats.md`, or pairs with
            the columns and templates that are given.
        chat_template: What replaces the tokenizer's chat template: a file with a Jinja template, the name of one of
            its several, or the directory or name of a model that has one; null keeps it.
        chat_template_kwargs: Further arguments of the chat template for all rows, such as `enable_thinking: false`; the
            column `chat_template_kwargs` of a row comes before them. See docs/chat-templates.md.
        chat_template_date: Date for a chat template that writes one, such as `2026-11-30`; null takes that of the
            checkpoint that the run goes on from, or else the day of the first read.
        scored: Turns of a conversation's completion that are trained on: the assistant's, its last one alone
            (`last_assistant`), or the whole `completion`, turns of users and tools in it included. A template that
            marks them with `{% generation %}` says where they stand. A message with `weight` 0 or 1 says it itself.
        eos: Where an EOS token ends a completion. With `auto`, a text ends with one, and a conversation as its template
            ends it, with an EOS where that writes no special token; `always` puts one also behind another special
            token. With `never` a completion ends with its last word, without the template's end of turn: for
            completions that are parts of an answer, such as single tokens after a prompt that ends with a message of
            the assistant.
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
        num_workers: Processes that prepare batches; 0 prepares them in the main process, which takes some 2 ms for 64
            pairs of HH, of which one saves half. They help where a collate function of yours is slow; those of a
            stream tokenise.
        num_proc: Processes that tokenise the rows, each some of them; null tokenises in the main process.
        seed: Seed of the order, of the held-out fraction, and of the completions of other prompts that KTO reads.
        clean: What is left out of the training rows: pairs that say the same on both sides, repeats, contradictions,
            examples that are held out too; null leaves nothing out. `dpo-lightning inspect` finds them.
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
        val_split_by: HeldOutBy = "row",
        test_split: Optional[Union[str, dict[str, str]]] = None,
        load_options: Optional[dict[str, Any]] = None,
        format: Format = AutoFormat(),  # noqa: B008 - frozen
        chat_template: Optional[str] = None,
        chat_template_kwargs: Optional[dict[str, Any]] = None,
        chat_template_date: Optional[str] = None,
        scored: Scored = "assistant",
        eos: EosRule = "auto",
        max_length: int = 1024,
        max_prompt_length: Optional[int] = None,
        batch_pairs: Optional[int] = None,
        batch_tokens: Optional[int] = None,
        eval_batch_pairs: Optional[int] = None,
        layout: Literal["auto", "tree", "padded"] = "auto",
        length_grouped: Optional[bool] = None,
        order: Optional[Order] = None,
        num_workers: int = 0,
        num_proc: Optional[int] = None,
        seed: int = 0,
        clean: Optional[Clean] = None,
        resume: ResumeMode = "exact",
    ) -> None:
        super().__init__()
        check_settings(PreferenceDataModule, locals())
        self.sources = checked_sources(sources)
        own_split = None if train_split == "train" else train_split
        check_alone(self.sources, dataset=dataset, train_split=own_split, load_options=load_options or None)
        self.load_options = dict(load_options or {})
        self.streaming = wants_stream(dataset, streaming, self.load_options)
        self.streaming, self.sources = streamed_sources(self.sources, streaming=self.streaming)
        names = SplitNames(None if self.streaming else train_split, val_split, test_split, val_split_by)
        names.check()
        by_default = batch_pairs is None and batch_tokens is None
        self.batching = Batching(
            self.default_batch_pairs if by_default else batch_pairs, batch_tokens, length_grouped, seed
        )
        self.batching.check()
        self.train_split = train_split
        self.clean = checked_clean(clean)
        self.shuffle_buffer = checked_buffer(shuffle_buffer, streams=self.streaming)
        if self.streaming:
            check_stream(names, self.batching, order=order, clean=self.clean)
        self.dataset = dataset
        self.format = checked_format(format)
        self.chat_template = chat_template
        self.scored: Scored = scored
        self.chat_template_kwargs = dict(chat_template_kwargs or {})
        self.eos = eos
        self._date = TemplateDate(chat_template_date)
        self.max_length = max_length
        self.max_prompt_length = max_prompt_length
        self.eval_batch_pairs = eval_batch_pairs
        self.layout = layout
        self.resume = resume
        self.num_workers = num_workers
        self.num_proc = num_proc
        self.seed = seed
        self.order = checked_order(order, length_grouped)
        self.splits = Splits(
            names, self.tokenize_split, self.without_unclean, max_length=max_length, seed=seed, sources=self.sources
        )
        self._epoch = TrainingEpoch(self.splits, self.batching, resume, self.order)
        self._tokenizer_source = tokenizer
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._val_limit: int | float = 1.0
        self.notes = ReadingNotes()

    def prepare_data(self) -> None:
        """Download, check and tokenise, into the cache of `datasets`."""
        self.read_all()

    def setup(self, stage: str | None = None) -> None:
        """Read the tokenised examples of every split, from the cache where `prepare_data` has run."""
        if self.trainer is not None:
            check_run(self.trainer, streams=self.streaming and stage == "fit")
            self.batching.check_sought(batch_sizes_sought(self.trainer))
            in_each_stage = batch_sizes_sought(self.trainer, in_each_stage=True)
            self.batching.check_sought_in(TrainerFn(stage or "fit").value, in_each_stage, self.eval_batch_pairs)
        self._date.settle(self.tokenizer)
        self._date.share()
        self.read_all()
        self._epoch.forget()
        if self.trainer is not None and stage == "fit":
            self.show_first()
        if self.trainer is not None and stage == "fit" and "val" not in self.splits:
            # Lightning's switch for a fit without validation: it warns about a loader that is empty or missing.
            self._val_limit, self.trainer.limit_val_batches = self.trainer.limit_val_batches, 0

    def teardown(self, stage: str) -> None:
        """Leave the Trainer as it was, and say what a stream has dropped since its last epoch."""
        if self.stream is not None and stage == "fit":
            self.stream.report("the rest", data_ranks(self.trainer))
        if self.trainer is not None and stage == "fit" and "val" not in self.splits:
            self.trainer.limit_val_batches = self._val_limit

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
        self._epoch.before_other_rows(self.trainer, self.learner)
        self.splits.replace_training(dataset)

    def train_dataloader(self) -> Union[LazyLoader, StreamLoader]:
        """Shuffled by seed and epoch; goes on at the batch at which Lightning goes on after a restore.

        Completions that the objective does not compare are left out.

        Raises:
            InputError: for a pair that has more than `batch_tokens` tokens, a layout that does not fit the model, or
                other batches than those of the checkpoint that the run goes on from.
        """
        layout, compared = (
            self.settled_layout(),
            Compares.PAIRS if self.read_by_module is None else self.read_by_module.compares,
        )
        self._epoch.settle(layout, compared.most_completions, self.trainer)
        if self.streaming:
            return self.stream_loader(layout, compared.most_completions)
        overfit = self.trainer is not None and cast(Any, self.trainer).overfit_batches > 0
        rows = self.rows_of_epochs(compared.most_completions, overfit=overfit)
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
        return {**self._epoch.state(self.trainer), **self._date.state(), **self.stream_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on with a training run whose batches were other ones.

        What depends on the layout is compared when the training loader is built: `auto` asks the model then.

        Raises:
            InputError: naming what has changed since the checkpoint was written.
        """
        # Strategies that shard the model restore when hooks of the fit have read the rows.
        late = self.trainer is not None and self.trainer.strategy.restore_checkpoint_after_setup
        if not late and self._date.take(state_dict):
            self.splits.forget()
            self.read_all()
        if self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            if self.resume == "exact":
                self._date.check(state_dict)
            self._epoch.restore(state_dict, self.trainer)
            self.restored_stream = state_dict.get("stream", [])
