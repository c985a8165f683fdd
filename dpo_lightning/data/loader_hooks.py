"""The loaders of a DataModule: how its splits, and other data beside them, are batched for this rank."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence, Sized
from typing import Any, Literal, Optional, Union

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from dpo_lightning.batch import Collate, first_completions
from dpo_lightning.data.batch_plans import BatchPlan, ExamplePlan
from dpo_lightning.data.batching import COLLATE, Batching, Layout, settle_layout
from dpo_lightning.data.dataset import ExampleDataset, ExamplesInArrays
from dpo_lightning.data.epoch_position import TrainingEpoch
from dpo_lightning.data.interfaces import PreferenceLearner, PreferenceSource
from dpo_lightning.data.loader import ExampleBatchSampler, LazyLoader, build_loader
from dpo_lightning.data.loaders_beside import check_resumed
from dpo_lightning.data.mixing.epoch_rows import EpochRows, OrderedRows, SameRows, chosen_rows
from dpo_lightning.data.mixing.order import Order, check_order_fits, checked_keys
from dpo_lightning.data.mixing.parts import said_of
from dpo_lightning.data.splits import NEVER_ALL, Splits
from dpo_lightning.data.streaming import StreamLoader, TrainingStream
from dpo_lightning.data.streaming.stream import StreamSettings
from dpo_lightning.errors import InputError
from dpo_lightning.utils.ranks import data_ranks, host_group
from dpo_lightning.utils.settings import at_least, check_rules
from dpo_lightning.utils.trainers import is_fitting, is_running

EvaluationLoaders = Union[LazyLoader, dict[str, LazyLoader]]


class LoaderHooks(pl.LightningDataModule, PreferenceSource):
    """The part of a DataModule that makes its loaders.

    Attributes:
        splits: The rows.
        batching: How they are put into batches.
        eval_batch_pairs: Most examples of a batch in evaluation; null takes what training takes.
        layout: The layout that is wanted.
        num_workers: Processes that prepare batches.
        seed: Seed of the order.
        order: The curriculum; null for shuffled rows.
        streaming: Whether the training rows stream.
        shuffle_buffer: Rows that the shuffle of a stream holds.
        stream: The training rows where they stream; there after `setup`.
        restored_stream: The checkpoint's word on where the stream was.
    """

    splits: Splits
    batching: Batching
    eval_batch_pairs: Optional[int]
    layout: Literal["auto", "tree", "padded"]
    num_workers: int
    seed: int
    _epoch: TrainingEpoch
    order: Optional[Order]
    streaming: bool
    shuffle_buffer: int
    stream: TrainingStream | None = None
    restored_stream: Sequence[Mapping[str, Any]] = ()
    _stream_loader: StreamLoader | None = None
    _told: str | None = None
    _shares_told: str | None = None

    @property
    @abstractmethod
    def learner(self) -> PreferenceLearner | None:
        """The module that trains, where it can be asked what it needs."""

    @property
    def batch_pairs(self) -> int | None:
        """Most pairs of a micro-batch; set it for the loaders that are made from then on, as `BatchSizeFinder` does."""
        return self.batching.batch_pairs

    @batch_pairs.setter
    def batch_pairs(self, value: int | None) -> None:
        self._set_batching(self.batching._replace(batch_pairs=value))

    @property
    def batch_tokens(self) -> int | None:
        """Most tokens of a micro-batch; set it for the loaders that are made from then on.

        Less than the longest example is taken as that one's, and said: a search begins with 2.
        """
        return self.batching.batch_tokens

    @batch_tokens.setter
    def batch_tokens(self, value: int | None) -> None:
        self._set_batching(self.batching._replace(batch_tokens=value))
        longest = 0 if value is None else self.splits.longest()
        if value is not None and value < longest:
            rank_zero_info(f"data.batch_tokens: {longest} instead of {value}, the tokens of the longest example")
            self._set_batching(self.batching._replace(batch_tokens=longest))

    def _set_batching(self, batching: Batching) -> None:
        check_rules("data.", batching, batch_pairs=at_least(1), batch_tokens=at_least(1))
        batching.check()
        if batching.batch_pairs is None and batching.batch_tokens is None:
            raise InputError("data.batch_pairs and data.batch_tokens: the one that is in force cannot become null")
        self.batching = self._epoch.batching = batching

    def loader_beside(
        self,
        dataset: Sized,
        batch_size: int,
        collate_fn: Optional[Callable[[list[Any]], Any]] = None,
        *,
        shuffle: bool = True,
    ) -> LazyLoader:
        """Make a training loader of other data, to stand beside that of the pairs in a `CombinedLoader`.

        Its order goes by this module's seed and the epoch, each rank has its part, and a run that goes on in the middle
        of an epoch goes on in the middle of it, too: of a `DataLoader` that shuffles nobody knows where that is.

        Args:
            dataset: Has a length, and items by number.
            batch_size: Most items of a batch on each device; the sizes differ by at most one.
            collate_fn: Makes a batch of a list of items, as that of a `DataLoader`.
            shuffle: A new order each epoch.
        """
        at_least(1).check("data.loader_beside: batch_size", batch_size)
        ranks = data_ranks(self.trainer)
        ones = np.ones(len(dataset), dtype=int).tolist()
        plan = ExamplePlan(ones, batch_size, shuffle=shuffle, seed=self.seed, world_size=ranks.world_size)
        sampler = ExampleBatchSampler(plan, ranks.rank)
        loader = build_loader(dataset, sampler, collate_fn, num_workers=self.num_workers, seed=self.seed)
        loader.weighs = False
        return self.following(loader)

    def following(self, loader: LazyLoader) -> LazyLoader:
        """Let a training loader go on where the run goes on."""
        loader.progress = lambda: self._epoch.progress(self.trainer, len(loader))
        loader.check = lambda: check_resumed(self.trainer)
        return loader

    def val_dataloader(self) -> EvaluationLoaders:
        """The validation pairs, in order; of several sets a dict of loaders, without a set none where a fit asks.

        Raises:
            InputError: without a validation split.
        """
        if "val" not in self.splits:
            if is_fitting(self.trainer):  # lr_find turns validation on
                return {}
            raise InputError("nothing to validate on: set data.val_split")
        return self._eval_loaders("val")

    def test_dataloader(self) -> EvaluationLoaders:
        """The test pairs, in order; without a test split, the validation pairs.

        Raises:
            InputError: without either.
        """
        for name in ("test", "val"):
            if name in self.splits:
                return self._eval_loaders(name)
        raise InputError("nothing to test on: set data.test_split or data.val_split")

    predict_dataloader = test_dataloader

    def examples(self, split: str) -> ExampleDataset:
        """Return the tokenised examples of `train`, `val`, `test` or a set (`val/held_out`), as the run reads them.

        Raises:
            InputError: when there is no such split.
        """
        return ExampleDataset(self.splits[split], self.splits.sources_of(split))

    def examples_used(self, fn: str | None) -> list[ExampleDataset]:
        """Return the examples that `fit`, `validate`, `test` or `predict` reads, set by set."""
        if fn == "fit" and self.streaming:
            raise InputError(
                f"data.streaming: {NEVER_ALL}, and a reference Precomputed scores them before training: take "
                "FrozenCopy or AdapterOff"
            )
        names = {"fit": ("train", "val"), "validate": ("val",)}.get(fn or "")
        if names is None:
            names = ("test",) if "test" in self.splits else ("val",)
        return [self.examples(key) for name in names for key in self.splits.sets(name).values()]

    def prompts(self, split: str) -> list[list[int]]:
        """Return the token ids of the prompts of `train`, `val` or `test`, in order, or of one set.

        Raises:
            InputError: when there is no such split.
        """
        return self.splits[split]["prompt_ids"][:]

    def settled_layout(self) -> Layout:
        """Return the layout that is right for the run's module, and say once where it is not the one that is wanted."""
        layout = settle_layout(self.layout, self.learner)
        if layout.problem and layout.reason != self._told:
            self._told = layout.reason
            rank_zero_warn(f"layout: padded, since {layout.reason}")
        return layout

    def _eval_loaders(self, split: str) -> EvaluationLoaders:
        loaders = {name: self._eval_loader(key) for name, key in self.splits.sets(split).items()}
        return loaders.get("", loaders)

    def _eval_loader(self, split: str) -> LazyLoader:
        layout, batching = self.settled_layout(), self.batching
        if self.eval_batch_pairs is not None:
            batching = batching._replace(batch_pairs=self.eval_batch_pairs)
        return self.loader_of(split, self.planned(split, batching, layout, shuffle=False), COLLATE[layout.name])

    def planned(
        self,
        split: str,
        batching: Batching,
        layout: Layout,
        *,
        shuffle: bool,
        completions: int | None = None,
        rows: EpochRows | None = None,
    ) -> BatchPlan:
        """Plan for the first completions of each example, or for all of them; of all rows, or those of each epoch."""
        return batching.plan(
            self.splits.lengths(split).first(completions),
            layout,
            shuffle=shuffle,
            world_size=data_ranks(self.trainer).world_size,
            place=lambda position: self.splits.place(split, position),
            rows=rows,
        )

    def rows_of_epochs(self, completions: int | None, *, overfit: bool) -> EpochRows:
        """Return the training rows of each epoch: exact numbers of each source, and in the order that is given."""
        lengths = self.splits.lengths("train").first(completions)
        rows = chosen_rows(self.splits.parts, lengths, self.seed)
        if self.splits.parts and said_of(self.splits.parts) != self._shares_told:
            self._shares_told = said_of(self.splits.parts)
            rank_zero_info(self._shares_told)
        if self.order is not None:
            check_order_fits(self.order, self.batching.batch_tokens, self.splits.parts)
            rows = OrderedRows(rows, checked_keys(self.order, self.splits["train"], lengths))
        return SameRows(rows) if overfit else rows

    def stream_loader(self, layout: Layout, completions: int | None) -> StreamLoader:
        """Make the loader of a stream, for the first completions of each example, or for all of them.

        Raises:
            InputError: for a number of tokens in the padded layout.
        """
        stream = self.stream
        assert stream is not None, "`setup` has opened it"
        self.batching.check_layout(layout)
        collate = first_completions(COLLATE[layout.name], completions)
        if self.learner is not None:
            collate = self.learner.with_reference(collate)
        ranks, group = data_ranks(self.trainer), host_group()
        settings = StreamSettings(
            self.shuffle_buffer,
            self.seed,
            self.num_workers,
            self.batching.batch_pairs,
            self.batching.batch_tokens,
            completions,
        )
        loader = StreamLoader(
            lambda start: stream.epoch(settings, start, ranks, group),
            collate,
            ranks.world_size,
            self.restored_stream,
        )
        loader.progress = lambda: self._epoch.progress(self.trainer, math.inf)
        loader.check = lambda: check_resumed(self.trainer)
        if self._stream_loader is None or (self.trainer is not None and is_running(self.trainer)):
            self._stream_loader = loader
        return loader

    def stream_state(self) -> dict[str, Any]:
        """Return where a stream was after the last batches; nothing without one."""
        return {} if self._stream_loader is None else {"stream": self._stream_loader.state()}

    def loader_of(self, split: str, plan: BatchPlan, collate: Collate) -> LazyLoader:
        """Make the loader of this rank's batches, with the reference's values where the module brings them."""
        if self.learner is not None:
            collate = self.learner.with_reference(collate)
        sampler = ExampleBatchSampler(plan, data_ranks(self.trainer).rank, self._losses(split))
        examples: Any = self.examples(split)
        if type(examples) is ExampleDataset:  # one of your own is read as it says
            examples = ExamplesInArrays(examples)
        return build_loader(examples, sampler, collate, num_workers=self.num_workers, seed=self.seed)

    def _losses(self, split: str) -> np.ndarray | None:
        """How many losses each example of the split has; None for one."""
        if self.learner is None or not self.learner.data_read().compares.has_loss_of_completion:
            return None
        return self.splits.lengths(split).counts
