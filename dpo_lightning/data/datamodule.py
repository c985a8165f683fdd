"""Preference triples as a LightningDataModule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Optional, Union, cast

from lightning.pytorch.trainer.states import TrainerFn

from dpo_lightning.batch import first_completions
from dpo_lightning.compat.lightning import batch_sizes_sought
from dpo_lightning.data.batching import COLLATE, Batching
from dpo_lightning.data.cleaning import Clean, checked_clean
from dpo_lightning.data.compatibility import DataRead, check_read, checked_format
from dpo_lightning.data.epoch_position import TrainingEpoch
from dpo_lightning.data.formats import Format, RowFormat
from dpo_lightning.data.interfaces import PreferenceLearner
from dpo_lightning.data.loader import LazyLoader
from dpo_lightning.data.loader_hooks import LoaderHooks
from dpo_lightning.data.reading.sources import Keys, describe, load_rows
from dpo_lightning.data.resuming import ResumeMode
from dpo_lightning.data.saved_arguments import SavedArguments
from dpo_lightning.data.settings import check_settings
from dpo_lightning.data.splits import SplitNames, Splits
from dpo_lightning.data.tokenize import ExampleTokenizer
from dpo_lightning.data.tokenize.loading import load_tokenizer
from dpo_lightning.data.tokenize.rows import tokenize_rows
from dpo_lightning.data.tokenize.vocabulary import Vocabulary
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Compares, Reads

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
            to file, or a `datasets.Dataset` or `DatasetDict`.
        tokenizer: Name or directory of the tokenizer, or the tokenizer itself; null takes the policy's own.
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
            padding.
        num_workers: Processes that prepare batches; 0 prepares them in the main process.
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
        dataset: Any,
        tokenizer: Any = None,
        *,
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
        num_workers: int = 0,
        seed: int = 0,
        clean: Optional[Clean] = None,
        resume: ResumeMode = "exact",
    ) -> None:
        super().__init__()
        check_settings(PreferenceDataModule, locals())
        names = SplitNames(train_split, val_split, test_split)
        names.check()
        by_default = batch_pairs is None and batch_tokens is None
        self.batching = Batching(
            self.default_batch_pairs if by_default else batch_pairs, batch_tokens, length_grouped, seed
        )
        self.batching.check()
        self.dataset = dataset
        self.load_options = dict(load_options or {})
        self.format = checked_format(format)
        self.chat_template = chat_template
        self.max_length = max_length
        self.max_prompt_length = max_prompt_length
        self.eval_batch_pairs = eval_batch_pairs
        self.layout = layout
        self.num_workers = num_workers
        self.seed = seed
        self.clean = checked_clean(clean)
        self.splits = Splits(names, self._tokenize, self._cleaned, max_length=max_length, seed=seed)
        self._epoch = TrainingEpoch(self.splits, self.batching, resume)
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
            self.batching.check_sought(batch_sizes_sought(self.trainer))
            in_each_stage = batch_sizes_sought(self.trainer, in_each_stage=True)
            self.batching.check_sought_in(TrainerFn(stage or "fit").value, in_each_stage, self.eval_batch_pairs)
        self._load()
        self._epoch.forget()
        if self.trainer is not None and stage == "fit" and "val" not in self.splits:
            # Lightning's switch for a fit without validation: it warns about a loader that is empty or missing.
            self._val_limit, self.trainer.limit_val_batches = self.trainer.limit_val_batches, 0

    def teardown(self, stage: str) -> None:
        """Leave the Trainer as it was."""
        if self.trainer is not None and stage == "fit" and "val" not in self.splits:
            self.trainer.limit_val_batches = self._val_limit

    def _load(self) -> None:
        read = self._read
        if read is not None:
            predicting = self.trainer is not None and self.trainer.state.fn == TrainerFn.PREDICTING
            check_read(read, checked_format(self.format), predicting=predicting)
        if self._learner is not None:
            Vocabulary(self.tokenizer, self._learner.vocabulary()).check()
        self.splits.load(self.dataset, mismatched=read is not None and Reads.MISMATCHED in read.reads)

    def _tokenize(self, source: Any, split: str, keys: Keys) -> datasets.Dataset:
        rows = load_rows(source, split, self.load_options, keys)
        encode = ExampleTokenizer(self.tokenizer, self.max_length, self.max_prompt_length)
        vocabulary = None if self._learner is None else self._learner.vocabulary()
        place = f"{describe(source)}, split {split}"
        return tokenize_rows(rows, checked_format(self.format), encode, place, vocabulary)

    def _cleaned(self, rows: Mapping[str, datasets.Dataset], place: str) -> dict[str, datasets.Dataset]:
        return self.clean(rows, place, self.tokenizer.batch_decode)

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

    def train_dataloader(self) -> LazyLoader:
        """Shuffled by seed and epoch; goes on at the batch at which Lightning goes on after a restore.

        Completions that the objective does not compare are left out.

        Raises:
            InputError: for a pair that has more than `batch_tokens` tokens, a layout that does not fit the model, or
                other batches than those of the checkpoint that the run goes on from.
        """
        layout, compared = self.settled_layout(), Compares.PAIRS if self._read is None else self._read.compares
        self._epoch.settle(layout, compared.most_completions, self.trainer)
        overfit = self.trainer is not None and cast(Any, self.trainer).overfit_batches > 0
        plan = self.planned("train", self.batching, layout, shuffle=not overfit, completions=compared.most_completions)
        loader = self.loader_of("train", plan, first_completions(COLLATE[layout.name], compared.most_completions))
        return self.following(loader)

    def state_dict(self) -> dict[str, Any]:
        """The position in the epoch, and what gives it its meaning."""
        return self._epoch.state(self.trainer)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on with a training run whose batches were other ones.

        What depends on the layout is compared when the training loader is built: `auto` asks the model then.

        Raises:
            InputError: naming what has changed since the checkpoint was written.
        """
        if self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            self._epoch.restore(state_dict, self.trainer)
