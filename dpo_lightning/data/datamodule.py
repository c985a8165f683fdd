"""Preference triples as a LightningDataModule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Union, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader, Dataset

from dpo_lightning.batch import TokenizedPair
from dpo_lightning.data.collate import collate_padded
from dpo_lightning.data.formats import RowFormat
from dpo_lightning.data.sampling import LazyLoader, PairBatchSampler
from dpo_lightning.data.sources import describe, load_rows
from dpo_lightning.data.tokenize import Outcome, PairTokenizer
from dpo_lightning.errors import InputError

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase

_TOKEN_COLUMNS_VERSION = "1"  # part of the cache key: change it with anything that changes the tokens


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
        train_split: Split to train on, or a slice of one, as in `train[:1000]`.
        val_split: Split or slice to validate on, or the fraction of the training split to hold out; null for none.
        test_split: Split or slice that `test` and `predict` run on; null takes the validation pairs.
        load_options: Further arguments of `datasets.load_dataset`, such as `name`, `data_dir`, `revision`.
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
        if isinstance(val_split, float) and not 0 < val_split < 1:
            raise InputError(f"data.val_split: a held-out fraction is between 0 and 1, got {val_split}")
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
        self._position: dict[str, Any] | None = None

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, loaded at first use, with the chat template in force."""
        if self._tokenizer is None:
            self._tokenizer = _load_tokenizer(self._tokenizer_source or self._policy_name())
            if self.chat_template is not None:
                self._tokenizer.chat_template = _read_template(self.chat_template)
        return self._tokenizer

    def _policy_name(self) -> str:
        module = getattr(self.trainer, "lightning_module", None)
        name = getattr(module, "policy_name", None)
        if name is None:
            raise InputError("data.tokenizer: give a name or directory, since the policy has none to take it from")
        return name

    def prepare_data(self) -> None:
        """Download, check and tokenise, into the cache of `datasets`."""
        self.setup()

    def setup(self, stage: str | None = None) -> None:
        """Read the tokenised pairs of every split from the cache."""
        if self._pairs:
            return
        train, val, test = (self.splits[name] for name in ("train", "val", "test"))
        pairs = {"train": self._tokenize(str(train))}
        if isinstance(val, float):
            held_out = pairs["train"].train_test_split(test_size=val, seed=self.seed)
            pairs = {"train": held_out["train"], "val": held_out["test"]}
        elif val is not None:
            pairs["val"] = self._tokenize(val)
        if test is not None:
            pairs["test"] = self._tokenize(str(test))
        self._pairs = pairs

    def _tokenize(self, split: str) -> datasets.Dataset:
        from datasets.fingerprint import Hasher

        rows = load_rows(self.dataset, split, self.load_options)
        encode = PairTokenizer(self.tokenizer, self.max_length, self.max_prompt_length)
        place = f"{describe(self.dataset)}, split {split}"

        def encode_row(row: Mapping[str, Any], index: int) -> dict[str, Any]:
            try:
                encoding = encode(self.format.parse(row))
            except InputError as error:
                raise InputError(f"{place}, row {index} (from 0): {error}") from None
            return {"pair_id": index, **encoding._asdict(), "length": encoding.length}

        # `datasets` would hash the function, and a fast tokenizer's hash changes as it is used.
        settings = (self.format, self.max_length, self.max_prompt_length, _tokenizer_identity(self.tokenizer))
        key = Hasher.hash((_TOKEN_COLUMNS_VERSION, rows._fingerprint, settings))
        encoded = rows.map(
            encode_row,
            with_indices=True,
            remove_columns=rows.column_names,
            new_fingerprint=key,
            desc=f"tokenising {split}",
        )
        return _keep(encoded, place)

    def train_dataloader(self) -> LazyLoader:
        """Shuffled by seed and epoch; goes on where a restored checkpoint stopped."""
        loader = self._loader("train", self.batch_size, shuffle=True)
        if self._position is not None:
            self._resume(loader.sampler, self._position)
        return loader

    def val_dataloader(self) -> LazyLoader | list[Any]:
        """The validation pairs, in order; an empty list without a validation split."""
        return self._loader("val", self.eval_batch_size) if "val" in self._pairs else []

    def test_dataloader(self) -> LazyLoader:
        """The test pairs, in order; without a test split, the validation pairs."""
        for name in ("test", "val"):
            if name in self._pairs:
                return self._loader(name, self.eval_batch_size)
        raise InputError("nothing to test on: set data.test_split or data.val_split")

    predict_dataloader = test_dataloader

    def _loader(self, name: str, batch_size: int, shuffle: bool = False) -> LazyLoader:
        pairs = self._pairs[name]
        sampler = PairBatchSampler(
            pairs["length"],
            batch_size,
            shuffle=shuffle,
            length_grouped=self.length_grouped and shuffle,
            seed=self.seed,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
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
        return LazyLoader(loader, sampler)

    def state_dict(self) -> dict[str, Any]:
        """Position in the epoch. Lightning's counter goes on after a restore, its data does not."""
        assert self.trainer is not None
        progress = cast(Any, self.trainer.fit_loop.epoch_loop.batch_progress.current)
        return {
            "batches": progress.processed,
            "batch_size": self.batch_size,
            "world_size": self.trainer.world_size,
            "seed": self.seed,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the position for the training loader."""
        self._position = state_dict

    def _resume(self, sampler: PairBatchSampler, position: Mapping[str, Any]) -> None:
        now = {"batch_size": sampler.batch_size, "world_size": sampler.world_size, "seed": sampler.seed}
        for name, value in now.items():
            if position[name] != value:
                raise InputError(
                    f"the checkpoint was written with {name} {position[name]}, this run has {value}: its position in "
                    "the epoch means nothing here. Resume with the same value, or start from exported weights"
                )
        sampler.start = position["batches"] % len(sampler)
        self._position = None


def _load_tokenizer(source: Any) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    if not isinstance(source, str | Path):
        return source
    try:
        return AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise InputError(f"tokenizer {str(source)!r}: {str(error).splitlines()[0]}") from None


def _read_template(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"data.chat_template: {error}") from None


def _tokenizer_identity(tokenizer: PreTrainedTokenizerBase) -> tuple[Any, ...]:
    return type(tokenizer).__name__, sorted(tokenizer.get_vocab().items()), _rules(tokenizer), tokenizer.chat_template


def _rules(tokenizer: PreTrainedTokenizerBase) -> Any:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return backend.to_str() if backend is not None else tokenizer.init_kwargs


def _keep(encoded: datasets.Dataset, place: str) -> datasets.Dataset:
    """Drop what cannot be trained on, and say once how much that was."""
    outcomes = encoded["outcome"]
    counts = Counter(outcomes)
    dropped = [f"{counts[outcome]} {outcome.reason}" for outcome in Outcome if outcome and counts[outcome]]
    truncated = sum(cut for cut, outcome in zip(encoded["truncated"], outcomes, strict=True) if outcome == Outcome.KEPT)
    rank_zero_info(
        f"{place}: {len(encoded)} pairs, {counts[Outcome.KEPT]} kept ({truncated} of them truncated)"
        + (f"; dropped {', '.join(dropped)}" if dropped else "")
    )
    if not counts[Outcome.KEPT]:
        raise InputError(f"{place}: no pair is left: {', '.join(dropped)}")
    return encoded.select([row for row, outcome in enumerate(outcomes) if outcome == Outcome.KEPT])
