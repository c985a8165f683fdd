"""Preference triples as a LightningDataModule."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Optional, Union, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch.utils.data import DataLoader, Dataset

from dpo_lightning.batch import TokenizedPair
from dpo_lightning.collate import collate_padded
from dpo_lightning.data.formats import RowFormat
from dpo_lightning.data.prepare import tokenize_rows
from dpo_lightning.data.sampling import LazyLoader, PairBatchSampler
from dpo_lightning.data.sources import describe, load_rows
from dpo_lightning.data.tokenize import PairTokenizer
from dpo_lightning.data.tokenizer_loading import load_tokenizer
from dpo_lightning.errors import InputError

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase


class PairDataset(Dataset[TokenizedPair]):
    """Tokenised rows as :class:`~dpo_lightning.batch.TokenizedPair`."""

    def __init__(self, rows: datasets.Dataset) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> TokenizedPair:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[TokenizedPair]:
        """Read a batch at once, which `DataLoader` prefers."""
        columns = self.rows[indices]
        return [TokenizedPair(*pair) for pair in zip(*(columns[name] for name in TokenizedPair._fields), strict=True)]


class PreferenceDataModule(pl.LightningDataModule):
    """Loads, checks, tokenises and batches preference triples.

    All of it happens in ``prepare_data``, before a logger or a checkpoint writes anything, and is cached by `datasets`.

    Args:
        dataset: A hub name, a local file (.jsonl, .json, .parquet, .csv, also .gz), a directory, a mapping from split
            to file, or a `datasets.Dataset` or `DatasetDict`.
        tokenizer: Name or directory of the tokenizer, or the tokenizer itself; null takes the policy's own.
        train_split: Split to train on, a slice of one, as in `train[:1000]`, or a sum, as in `train+test`.
        val_split: Split or slice to validate on, or the fraction of the training split to hold out; null for none.
        test_split: Split or slice that `test` and `predict` run on; null takes the validation pairs.
        load_options: Further arguments of `datasets.load_dataset`, such as `name`, `data_dir`, `revision`; and
            `keep_default_na: false` for a CSV whose texts may be `None` or `NA`.
        format: Columns and text templates.
        chat_template: File with a Jinja chat template that replaces the tokenizer's; null keeps it.
        max_length: Most tokens of prompt and completion together; completions keep their start.
        max_prompt_length: Most tokens of the prompt, which keeps its end; null for no limit of its own.
        batch_size: Pairs of a micro-batch on each device.
        eval_batch_size: The same for validation, test and prediction; null takes `batch_size`.
        length_grouped: Put pairs of similar length into a batch.
        num_workers: Processes that prepare batches; 0 prepares them in the main process.
        seed: Seed of the order and of the held-out fraction.
    """

    def __init__(  # noqa: PLR0913 - the constructor is the config
        self,
        dataset: Any,
        tokenizer: Any = None,
        *,
        train_split: str = "train",
        val_split: Optional[Union[float, str]] = None,
        test_split: Optional[str] = None,
        load_options: Optional[dict[str, Any]] = None,
        format: RowFormat = RowFormat(),  # noqa: B008 - frozen
        chat_template: Optional[str] = None,
        max_length: int = 1024,
        max_prompt_length: Optional[int] = None,
        batch_size: int = 8,
        eval_batch_size: Optional[int] = None,
        length_grouped: bool = True,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if isinstance(val_split, int | float) and not 0 < val_split < 1:
            raise InputError(f"data.val_split: a held-out fraction is between 0 and 1, got {val_split}")
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("eval_batch_size", eval_batch_size, 1),
            ("num_workers", num_workers, 0),
        ):
            if value is not None and value < least:
                raise InputError(f"data.{name} must be at least {least}, got {value}")
        self.dataset = dataset
        self.splits = {"train": train_split, "val": val_split, "test": test_split}
        self.load_options = dict(load_options or {})
        self.format = format
        self.chat_template = chat_template
        self.max_length = max_length
        self.max_prompt_length = max_prompt_length
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size or batch_size
        self.length_grouped = length_grouped
        self.num_workers = num_workers
        self.seed = seed
        self._tokenizer_source = tokenizer
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._pairs: dict[str, datasets.Dataset] = {}
        self._val_limit: int | float = 1.0

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
        if self.trainer is not None and stage == "fit" and "val" not in self._pairs:
            # Lightning's switch for a fit without validation: it warns about a loader that is empty or missing.
            self._val_limit, self.trainer.limit_val_batches = self.trainer.limit_val_batches, 0

    def teardown(self, stage: str) -> None:
        """Leave the Trainer as it was."""
        if self.trainer is not None and stage == "fit" and "val" not in self._pairs:
            self.trainer.limit_val_batches = self._val_limit

    def _load(self) -> None:
        if self._pairs:
            return
        train, val, test = (self.splits[name] for name in ("train", "val", "test"))
        pairs = {"train": self._tokenize(str(train))}
        if isinstance(val, float):
            pairs = self._hold_out(pairs["train"], val)
        elif val is not None:
            pairs["val"] = self._tokenize(val)
        if test is not None:
            pairs["test"] = self._tokenize(str(test))
        self._pairs = pairs

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
        """Shuffled by seed and epoch; goes on at the batch at which Lightning goes on after a restore."""
        overfit = self.trainer is not None and cast(Any, self.trainer).overfit_batches > 0
        return self._loader("train", self.batch_size, shuffle=not overfit, position=self._position)

    def val_dataloader(self) -> LazyLoader:
        """The validation pairs, in order.

        Raises:
            InputError: without a validation split.
        """
        if "val" not in self._pairs:
            raise InputError("nothing to validate on: set data.val_split")
        return self._loader("val", self.eval_batch_size)

    def test_dataloader(self) -> LazyLoader:
        """The test pairs, in order; without a test split, the validation pairs.

        Raises:
            InputError: without either.
        """
        for name in ("test", "val"):
            if name in self._pairs:
                return self._loader(name, self.eval_batch_size)
        raise InputError("nothing to test on: set data.test_split or data.val_split")

    predict_dataloader = test_dataloader

    def prompts(self, split: str) -> list[list[int]]:
        """Token ids of the prompts of `train`, `val` or `test`, in order.

        Raises:
            InputError: when there is no such split.
        """
        if split not in self._pairs:
            raise InputError(f"there are no {split} pairs: set data.{split}_split")
        return self._pairs[split]["prompt_ids"][:]

    def _loader(
        self, name: str, batch_size: int, shuffle: bool = False, position: Callable[[], int] | None = None
    ) -> LazyLoader:
        pairs = self._pairs[name]
        world_size, rank = self._data_ranks()
        sampler = PairBatchSampler(
            pairs["length"][:],
            batch_size,
            shuffle=shuffle,
            length_grouped=self.length_grouped and shuffle,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
        )
        loader = DataLoader(
            PairDataset(pairs),
            batch_sampler=sampler,
            collate_fn=collate_padded,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
            # Starting an iteration draws a seed; without its own generator it would draw from the global one.
            generator=torch.Generator().manual_seed(self.seed),
        )
        return LazyLoader(loader, sampler, position)

    def _data_ranks(self) -> tuple[int, int]:
        """Number of data-parallel ranks, and this one; fewer than the processes under tensor parallelism."""
        ranks = cast(Any, self.trainer).distributed_sampler_kwargs if self.trainer is not None else None
        return (ranks["num_replicas"], ranks["rank"]) if ranks else (1, 0)

    def _position(self) -> int:
        """Batches of the epoch that Lightning counts as done: more than 0 only right after a restore in mid-epoch."""
        return self.trainer.fit_loop.epoch_loop.batch_progress.current.ready if self.trainer is not None else 0

    def state_dict(self) -> dict[str, Any]:
        """What gives Lightning's count of batches its meaning."""
        return {
            "pairs": len(self._pairs["train"]),
            "batch_size": self.batch_size,
            "world_size": self._data_ranks()[0],
            "seed": self.seed,
            "length_grouped": self.length_grouped,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on with a training run whose batches were other ones.

        Raises:
            InputError: naming what has changed since the checkpoint was written.
        """
        if self.trainer is None or self.trainer.state.fn != TrainerFn.FITTING:
            return
        for name, now in self.state_dict().items():
            if state_dict[name] != now:
                raise InputError(
                    f"the checkpoint was written with {name} {state_dict[name]}, this run has {now}: its position in "
                    "the epoch means nothing here. Resume with the same value, or start from exported weights"
                )
