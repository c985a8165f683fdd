"""Preference triples as a LightningDataModule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Optional, Union, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader

from dpo_lightning.data.batching import (
    COLLATE,
    Layout,
    LayoutName,
    check_batch_settings,
    plan_by_pairs,
    plan_by_tokens,
    settle_layout,
)
from dpo_lightning.data.compatibility import check_read, data_read
from dpo_lightning.data.content_hash import content_hash
from dpo_lightning.data.dataset import PairDataset
from dpo_lightning.data.formats import Format, RowFormat
from dpo_lightning.data.kto_pairing import with_mismatched
from dpo_lightning.data.loader import EpochProgress, LazyLoader, PairBatchSampler
from dpo_lightning.data.plans import BatchPlan
from dpo_lightning.data.prepare import tokenize_rows, warn_of_one_label
from dpo_lightning.data.resuming import ResumedEpoch, ResumeMode, accumulation
from dpo_lightning.data.sources import describe, load_rows
from dpo_lightning.data.tokenize import PairTokenizer
from dpo_lightning.data.tokenizer_loading import load_tokenizer
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Reads
from dpo_lightning.utils.ranks import data_ranks

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase


class PreferenceDataModule(pl.LightningDataModule):
    """Loads, checks, tokenises and batches preference triples.

    What is read is read in ``prepare_data``, before a logger or a checkpoint writes anything, and cached by `datasets`.
    Training batches say what their pairs weigh, so that the loss of an optimizer step is the mean over its pairs,
    however these are spread over micro-batches and ranks.

    Args:
        dataset: A hub name, a local file (.jsonl, .json, .parquet, .csv, also .gz), a directory, a mapping from split
            to file, or a `datasets.Dataset` or `DatasetDict`.
        tokenizer: Name or directory of the tokenizer, or the tokenizer itself; null takes the policy's own.
        train_split: Split to train on, a slice of one, as in `train[:1000]`, or a sum, as in `train+test`.
        val_split: Split or slice to validate on, or the fraction of the training split to hold out; null for none.
        test_split: Split or slice that `test` and `predict` run on; null takes the validation pairs.
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
        resume: With `exact`, a checkpoint goes on at its very batch, and one of other pairs, batches or ranks is
            refused; `next_epoch` leaves the rest of its epoch out, whatever has changed.
    """

    default_batch_pairs: ClassVar[int] = 8
    """Pairs of a micro-batch where neither `batch_pairs` nor `batch_tokens` is given."""

    def __init__(  # noqa: PLR0913 - the constructor is the config
        self,
        dataset: Any,
        tokenizer: Any = None,
        *,
        train_split: str = "train",
        val_split: Optional[Union[float, str]] = None,
        test_split: Optional[str] = None,
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
        resume: ResumeMode = "exact",
    ) -> None:
        super().__init__()
        if isinstance(val_split, int | float) and not 0 < val_split < 1:
            raise InputError(f"data.val_split: a held-out fraction is between 0 and 1, got {val_split}")
        for name, value, least in (
            ("batch_pairs", batch_pairs, 1),
            ("batch_tokens", batch_tokens, 1),
            ("eval_batch_pairs", eval_batch_pairs, 1),
            ("num_workers", num_workers, 0),
        ):
            if value is not None and value < least:
                raise InputError(f"data.{name} must be at least {least}, got {value}")
        check_batch_settings(batch_pairs, batch_tokens, length_grouped)
        self.dataset = dataset
        self.splits = {"train": train_split, "val": val_split, "test": test_split}
        self.load_options = dict(load_options or {})
        self.format = format
        self.chat_template = chat_template
        self.max_length = max_length
        self.max_prompt_length = max_prompt_length
        self.batch_pairs = self.default_batch_pairs if batch_pairs is None and batch_tokens is None else batch_pairs
        self.batch_tokens = batch_tokens
        self.eval_batch_pairs = eval_batch_pairs
        self.layout = layout
        self.length_grouped = length_grouped
        self.num_workers = num_workers
        self.seed = seed
        self.resume = resume
        self._content: str | None = None
        self._tokenizer_source = tokenizer
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._tokenized: dict[str, datasets.Dataset] = {}
        self._pairs: dict[str, datasets.Dataset] = {}
        self._mismatched = False
        self._val_limit: int | float = 1.0
        self._told: str | None = None
        self._train_layout: LayoutName | None = None
        self._resumed: ResumedEpoch | None = None

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, loaded at first use, with the chat template in force."""
        if self._tokenizer is None:
            source = self._policy_name() if self._tokenizer_source is None else self._tokenizer_source
            self._tokenizer = load_tokenizer(source, self.chat_template)
        return self._tokenizer

    def _policy_name(self) -> str:
        module = getattr(self.trainer, "lightning_module", None)
        name = getattr(module, "policy_name", None)
        if not name:
            raise InputError("data.tokenizer: give a name or directory, since the policy has none to take it from")
        return name

    def prepare_data(self) -> None:
        """Download, check and tokenise, into the cache of `datasets`."""
        self._load()

    def setup(self, stage: str | None = None) -> None:
        """Read the tokenised pairs of every split, from the cache where `prepare_data` has run."""
        self._load()
        self._train_layout, self._resumed = None, None
        if self.trainer is not None and stage == "fit" and "val" not in self._pairs:
            # Lightning's switch for a fit without validation: it warns about a loader that is empty or missing.
            self._val_limit, self.trainer.limit_val_batches = self.trainer.limit_val_batches, 0

    def teardown(self, stage: str) -> None:
        """Leave the Trainer as it was."""
        if self.trainer is not None and stage == "fit" and "val" not in self._pairs:
            self.trainer.limit_val_batches = self._val_limit

    def _load(self) -> None:
        read = data_read(getattr(self.trainer, "lightning_module", None))
        if read is not None:
            predicting = self.trainer is not None and self.trainer.state.fn == TrainerFn.PREDICTING
            check_read(read, self.format, predicting=predicting)
        mismatched = read is not None and Reads.MISMATCHED in read.reads
        if not self._tokenized:
            self._tokenized = self._tokenize_splits()
        if not self._pairs or mismatched != self._mismatched:
            self._pairs = {name: self._mismatch(name) if mismatched else rows for name, rows in self._tokenized.items()}
            self._mismatched, self._content = mismatched, None

    def _tokenize_splits(self) -> dict[str, datasets.Dataset]:
        train, val, test = (self.splits[name] for name in ("train", "val", "test"))
        pairs = {"train": self._tokenize(str(train))}
        if isinstance(val, float):
            pairs = self._hold_out(pairs["train"], val)
        elif val is not None:
            pairs["val"] = self._tokenize(val)
        if test is not None:
            pairs["test"] = self._tokenize(str(test))
        warn_of_one_label(pairs["train"], f"{describe(self.dataset)}, train rows")
        return pairs

    def _mismatch(self, name: str) -> datasets.Dataset:
        place = f"{describe(self.dataset)}, {name} rows"
        return with_mismatched(self._tokenized[name], self.max_length, self.seed, place)

    def _tokenize(self, split: str) -> datasets.Dataset:
        rows = load_rows(self.dataset, split, self.load_options)
        encode = PairTokenizer(self.tokenizer, self.max_length, self.max_prompt_length)
        return tokenize_rows(rows, self.format, encode, f"{describe(self.dataset)}, split {split}")

    def _hold_out(self, pairs: datasets.Dataset, fraction: float) -> dict[str, datasets.Dataset]:
        try:
            parts = pairs.train_test_split(test_size=fraction, seed=self.seed)
        except ValueError as error:
            raise InputError(f"data.val_split: {fraction} of {len(pairs)} pairs: {error}") from None
        return {"train": parts["train"], "val": parts["test"]}

    def train_dataloader(self) -> LazyLoader:
        """Shuffled by seed and epoch; goes on at the batch at which Lightning goes on after a restore.

        Raises:
            InputError: for a pair that has more than `batch_tokens` tokens, a layout that does not fit the model, or
                other batches than those of the checkpoint that the run goes on from.
        """
        layout = self._settle_layout()
        self._train_layout = layout.name
        if self._resumed is not None:
            self._resumed.check(self._order())
        overfit = self.trainer is not None and cast(Any, self.trainer).overfit_batches > 0
        loader = self._loader("train", layout, self._plan("train", layout, shuffle=not overfit))
        loader.progress = lambda: self._progress(len(loader))
        return loader

    def val_dataloader(self) -> LazyLoader:
        """The validation pairs, in order.

        Raises:
            InputError: without a validation split.
        """
        if "val" not in self._pairs:
            raise InputError("nothing to validate on: set data.val_split")
        return self._eval_loader("val")

    def test_dataloader(self) -> LazyLoader:
        """The test pairs, in order; without a test split, the validation pairs.

        Raises:
            InputError: without either.
        """
        for name in ("test", "val"):
            if name in self._pairs:
                return self._eval_loader(name)
        raise InputError("nothing to test on: set data.test_split or data.val_split")

    predict_dataloader = test_dataloader

    def pairs_used(self, fn: str) -> list[PairDataset]:
        """The pairs that `fit`, `validate`, `test` or `predict` reads, split by split."""
        names = {"fit": ("train", "val"), "validate": ("val",)}.get(fn)
        if names is None:
            names = ("test",) if "test" in self._pairs else ("val",)
        return [PairDataset(self._pairs[name]) for name in names if name in self._pairs]

    def prompts(self, split: str) -> list[list[int]]:
        """Token ids of the prompts of `train`, `val` or `test`, in order.

        Raises:
            InputError: when there is no such split.
        """
        if split not in self._pairs:
            raise InputError(f"there are no {split} pairs: set data.{split}_split")
        return self._pairs[split]["prompt_ids"][:]

    def _settle_layout(self) -> Layout:
        layout = settle_layout(self.layout, getattr(self.trainer, "lightning_module", None))
        if layout.problem and layout.reason != self._told:
            self._told = layout.reason
            rank_zero_warn(f"layout: padded, since {layout.reason}")
        return layout

    def _plan(self, split: str, layout: Layout, *, shuffle: bool, batch_pairs: int | None = None) -> BatchPlan:
        """With ``batch_pairs``, or with what training takes."""
        pairs, batch_pairs = self._pairs[split], batch_pairs or self.batch_pairs
        order: dict[str, Any] = {
            "shuffle": shuffle,
            "seed": self.seed,
            "world_size": data_ranks(self.trainer).world_size,
        }
        if batch_pairs is None:
            return plan_by_tokens(pairs, cast(int, self.batch_tokens), layout, **order)
        return plan_by_pairs(pairs, batch_pairs, grouped=self._groups(layout.name), **order)

    def _groups(self, layout: LayoutName) -> bool:
        return layout == "padded" if self.length_grouped is None else self.length_grouped

    def _eval_loader(self, split: str) -> LazyLoader:
        layout = self._settle_layout()
        return self._loader(split, layout, self._plan(split, layout, shuffle=False, batch_pairs=self.eval_batch_pairs))

    def _loader(self, split: str, layout: Layout, plan: BatchPlan) -> LazyLoader:
        sampler = PairBatchSampler(plan, data_ranks(self.trainer).rank)
        collate = COLLATE[layout.name]
        with_reference = getattr(getattr(self.trainer, "lightning_module", None), "with_reference", None)
        loader = DataLoader(
            PairDataset(self._pairs[split]),
            batch_sampler=sampler,
            collate_fn=collate if with_reference is None else with_reference(collate),
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
            # Starting an iteration draws a seed; without its own generator it would draw from the global one.
            generator=torch.Generator().manual_seed(self.seed),
        )
        return LazyLoader(loader, sampler)

    def _progress(self, batches: int) -> EpochProgress:
        if self.trainer is None:
            return EpochProgress(done=0, accumulate=1, batches=batches)
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
        return EpochProgress(
            done=done if self._resumed is None else self._resumed.done(done, batches),
            accumulate=cast(Any, self.trainer).accumulate_grad_batches,
            batches=int(min(self.trainer.num_training_batches, batches)),
        )

    def state_dict(self) -> dict[str, Any]:
        """The position in the epoch, and what gives it its meaning."""
        return {**self._position(), **self._order()}

    def _position(self) -> dict[str, Any]:
        if self.trainer is None or self._train_layout is None:
            return {"batches_done": 0, "batches": 0}
        progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress.current
        return {"batches_done": progress.processed, "batches": int(self.trainer.num_training_batches)}

    def _order(self) -> dict[str, Any]:
        """What decides which pairs are in which batch; layout and grouping once the layout is settled."""
        self._content = self._content or content_hash(self._pairs["train"])
        order = {
            "pairs": len(self._pairs["train"]),
            "content": self._content,
            "batch_pairs": self.batch_pairs,
            "batch_tokens": self.batch_tokens,
            "world_size": data_ranks(self.trainer).world_size,
            "accumulate_grad_batches": accumulation(self.trainer),
            "seed": self.seed,
        }
        if self._train_layout is not None:
            order["length_grouped"] = self._groups(self._train_layout)
            if self.batch_tokens is not None:
                order["layout"] = self._train_layout
        return order

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on with a training run whose batches were other ones.

        What depends on the layout is compared when the training loader is built: `auto` asks the model then.

        Raises:
            InputError: naming what has changed since the checkpoint was written.
        """
        if self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            self._resumed = ResumedEpoch(self.resume, state_dict)
            self._resumed.check(self._order())
