"""Rows of each split: what a DataModule trains, validates and tests on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from dpo_lightning.data.content_hash import column_hashes, content_hash
from dpo_lightning.data.kto_pairing import with_mismatched
from dpo_lightning.data.lengths import Lengths
from dpo_lightning.data.prepare import warn_of_one_label
from dpo_lightning.data.sources import describe
from dpo_lightning.errors import InputError

if TYPE_CHECKING:
    import datasets


class SplitNames(NamedTuple):
    """Splits of the source, as `load_rows` takes them; a number for `val` is the share of `train` that is held out."""

    train: str
    val: float | str | None
    test: str | None


class Splits:
    """Tokenised rows of `train`, `val` and `test`, as far as there are any.

    Args:
        names: Where each is.
        tokenize: Reads and tokenises a split of a source.
        max_length: Most tokens of prompt and completion together, for completions of other prompts.
        seed: Seed of the held-out share, and of the choice of completions of other prompts.
    """

    def __init__(
        self, names: SplitNames, tokenize: Callable[[Any, str], datasets.Dataset], *, max_length: int, seed: int
    ) -> None:
        self._names = names
        self._tokenize = tokenize
        self._max_length = max_length
        self._seed = seed
        self._mismatched = False
        self._tokenized: dict[str, datasets.Dataset] = {}
        self._rows: dict[str, datasets.Dataset] = {}
        self._places: dict[str, str] = {}
        self._lengths: dict[str, Lengths] = {}
        self._content: str | None = None
        self._columns: dict[str, str] | None = None

    def __contains__(self, split: str) -> bool:
        return split in self._rows

    def __getitem__(self, split: str) -> datasets.Dataset:
        if split not in self._rows:
            raise InputError(f"there are no {split} pairs: set data.{split}_split")
        return self._rows[split]

    def lengths(self, split: str) -> Lengths:
        """Return the tokens of each row of a split."""
        if split not in self._lengths:
            self._lengths[split] = Lengths.of_rows(self[split])
        return self._lengths[split]

    @property
    def content(self) -> str:
        """The content hash of the training rows."""
        self._content = self._content or content_hash(self["train"])
        return self._content

    @property
    def columns(self) -> dict[str, str]:
        """The hash of each column of the training rows, by name."""
        if self._columns is None:
            self._columns = column_hashes(self["train"])
        return self._columns

    def load(self, source: Any, *, mismatched: bool) -> None:
        """Read the rows unless they are there.

        Args:
            source: What `load_rows` takes.
            mismatched: Whether the objective reads completions of other prompts.
        """
        if not self._tokenized:
            self._tokenized = self._read(source)
            self._places = {split: f"{describe(source)}, {split} rows" for split in self._tokenized}
            warn_of_one_label(self._tokenized["train"], self._places["train"])
        if not self._rows or mismatched != self._mismatched:
            self._mismatched = mismatched
            self._rows = {split: self._paired(split) for split in self._tokenized}
            self._lengths, self._content, self._columns = {}, None, None

    def replace_training(self, source: Any) -> None:
        """Take other rows to train on, from the same split of another source; the other splits stay as they are.

        Raises:
            InputError: before anything was read, or naming the row that cannot be read.
        """
        if not self._rows:
            raise InputError("data.replace_dataset: nothing was read yet: give the first dataset to the constructor")
        self._tokenized["train"] = self._tokenize(source, self._names.train)
        self._places["train"] = f"{describe(source)}, train rows"
        warn_of_one_label(self._tokenized["train"], self._places["train"])
        self._rows["train"] = self._paired("train")
        self._lengths.pop("train", None)
        self._content = self._columns = None

    def _read(self, source: Any) -> dict[str, datasets.Dataset]:
        train, val, test = self._names
        rows = {"train": self._tokenize(source, train)}
        if isinstance(val, float):
            rows = self._hold_out(rows["train"], val)
        elif val is not None:
            rows["val"] = self._tokenize(source, val)
        if test is not None:
            rows["test"] = self._tokenize(source, test)
        return rows

    def _hold_out(self, rows: datasets.Dataset, fraction: float) -> dict[str, datasets.Dataset]:
        try:
            parts = rows.train_test_split(test_size=fraction, seed=self._seed)
        except ValueError as error:
            raise InputError(f"data.val_split: {fraction} of {len(rows)} pairs: {error}") from None
        return {"train": parts["train"], "val": parts["test"]}

    def _paired(self, split: str) -> datasets.Dataset:
        rows = self._tokenized[split]
        return with_mismatched(rows, self._max_length, self._seed, self._places[split]) if self._mismatched else rows
