"""Rows of each split: what a DataModule trains, validates and tests on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Union

from dpo_lightning.data.content_hash import column_hashes, content_hash
from dpo_lightning.data.dataset import ExampleDataset
from dpo_lightning.data.held_out import HeldOutBy, hold_out
from dpo_lightning.data.kto_pairing import with_mismatched
from dpo_lightning.data.lengths import Lengths
from dpo_lightning.data.mixing.epoch_rows import Part
from dpo_lightning.data.mixing.parts import states
from dpo_lightning.data.mixing.reading import SplitTables, parts_of, read_sources
from dpo_lightning.data.mixing.source import Source
from dpo_lightning.data.reading.local_files import source_and_split
from dpo_lightning.data.reading.sources import Keys, describe
from dpo_lightning.data.tokenize.rows import warn_of_one_label
from dpo_lightning.errors import InputError
from dpo_lightning.utils.set_names import check_set_names

if TYPE_CHECKING:
    import datasets


Place = Union[float, str]
"""A split or a file, or a number: the share of `train` that is held out."""


class SplitNames(NamedTuple):
    """Splits of the source, as `load_rows` takes them, or files; `val` and `test` may be several sets by name.

    `by` is what a held-out fraction is a share of.

    `train` is null where the training rows stream.
    """

    train: str | None
    val: Place | Mapping[str, Place] | None
    test: str | Mapping[str, str] | None
    by: HeldOutBy = "row"

    def check(self) -> None:
        """Refuse what is no split, before any data is read.

        Raises:
            InputError: naming the key and the value.
        """
        for key, sets in (("data.val_split", _by_name(self.val)), ("data.test_split", _by_name(self.test))):
            check_set_names([name for name in sets if name != _ALONE], key)
            for place in sets.values():
                _check_place(key, place, may_hold_out=key == "data.val_split")
        fractions = sum(isinstance(place, float) for place in _by_name(self.val).values())
        if self.by != "row" and not fractions:
            raise InputError(f"data.val_split_by {self.by!r}: data.val_split holds no fraction out: leave it out")
        if fractions > 1:
            raise InputError("data.val_split: one set only can be held out of the training split as a fraction of it")

    def sets(self, split: str) -> Mapping[str, Place]:
        """Return the places of `val` or `test` by name; the name of one without a name is empty."""
        return _by_name(self.val if split == "val" else self.test)


NEVER_ALL = "the training rows are never all there"

_ALONE = ""  # the name of the one set of a split that has no names


def _by_name(given: Place | Mapping[str, Any] | None) -> Mapping[str, Any]:
    if isinstance(given, Mapping):
        if not given or _ALONE in given:
            raise InputError(f"data.val_split and data.test_split: a mapping names each of its sets, got {dict(given)}")
        return given
    return {} if given is None else {_ALONE: given}


def _check_place(key: str, place: object, *, may_hold_out: bool) -> None:
    if isinstance(place, int | float) and may_hold_out:
        if not 0 < place < 1:
            raise InputError(f"{key}: a held-out fraction is between 0 and 1, got {place}")
    elif not isinstance(place, str) or not place.strip():
        raise InputError(f"{key}: give a split such as `test[:100]`, or a file, not {place!r}")


class Splits:
    """Tokenised rows of `train`, `val` and `test`, as far as there are any.

    Args:
        names: Where each is.
        tokenize: Reads and tokenises a split of a source, given by these keys.
        clean: Gets the rows by split, what messages call those of `train`, and how many of them each source has;
            returns what is left of them.
        max_length: Most tokens of prompt and completion together, for completions of other prompts.
        seed: Seed of the held-out share, and of the choice of completions of other prompts.
        sources: Sources that are mixed, in place of a single one.

    Attributes:
        names: Where each is.
        parts: The rows of each of the sources in `train`; empty without sources.
        stream_content: Hash of the training rows where they stream; null otherwise.
        stream_sources: What is said of several sources that stream, see `TrainingStream.states`.
    """

    def __init__(
        self,
        names: SplitNames,
        tokenize: Callable[[Any, str, Keys], datasets.Dataset],
        clean: Callable[[Mapping[str, datasets.Dataset], str, Mapping[str, int]], SplitTables],
        *,
        max_length: int,
        seed: int,
        sources: Sequence[Source] = (),
    ) -> None:
        self.parts: tuple[Part, ...] = ()
        self.stream_content: str | None = None
        self.stream_sources: dict[str, Any] | None = None
        self.names = names
        self._clean = clean
        self._sources = sources
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
        self._states: dict[str, Any] | None = None

    def __contains__(self, split: str) -> bool:
        return split in self._rows or bool(self.sets(split))

    def __getitem__(self, split: str) -> datasets.Dataset:
        from datasets import concatenate_datasets

        if split in self._rows:
            return self._rows[split]
        if split not in self:
            if split == "train" and self.names.train is None:
                raise InputError(f"data.streaming: {NEVER_ALL}")
            raise InputError(f"there are no {split} pairs: set data.{split.partition('/')[0]}_split")
        return concatenate_datasets([self._rows[key] for key in self.sets(split).values()])

    def has(self, split: str) -> bool:
        """Return whether rows of `train`, `val` or `test` are read."""
        return bool(self._rows) and split in self

    def sets(self, split: str) -> dict[str, str]:
        """Return the keys of the sets of a split by name; those of one set without a name are `{"": split}`."""
        if split in self._rows:
            return {_ALONE: split}
        keys = [key for key in self._rows if key.startswith(f"{split}/")]
        return {key.removeprefix(f"{split}/"): key for key in keys}

    def longest(self) -> int:
        """Return the tokens of the longest example of all splits; 0 before they are read."""
        return max((int(self.lengths(split).tokens.max(initial=0)) for split in self._rows), default=0)

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

    @property
    def sources(self) -> dict[str, Any] | None:
        """The state of each source, see `parts.states`; None without sources."""
        if self.parts and self._states is None:
            self._states = states(self.parts, self["train"])
        return self._states

    def sources_of(self, split: str) -> tuple[Part, ...]:
        """Return the sources of a split's rows: all of them of `train`, and one of a set that was taken from it."""
        if split == "train":
            return self.parts
        kind, _, name = split.partition("/")
        if name in self.names.sets(kind):
            return ()  # a file, which may have the name of a source
        return tuple(Part(name, 0, len(self[split]), 0) for source in self._sources if source.name == name)

    def place(self, split: str, position: int) -> str:
        """Return the row at a position, and its source, as messages name them."""
        return ExampleDataset(self[split], self.sources_of(split))[position].place

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint says of the training rows: how many they are, and their hashes."""
        if self.stream_content is not None:
            return {"pairs": None, "content": self.stream_content, "columns": {}, "sources": self.stream_sources}
        return {
            "pairs": len(self["train"]),
            "content": self.content,
            "columns": self.columns,
            "sources": self.sources,
        }

    def load(self, source: Any, *, mismatched: bool) -> None:
        """Read the rows unless they are there.

        Args:
            source: What `load_rows` takes; null with sources.
            mismatched: Whether the objective reads completions of other prompts.
        """
        if not self._tokenized:
            tokenized, sizes = self._read(source)
            place = "data.sources" if self._sources else describe(source)
            self._places = {split: f"{place}, {split} rows" for split in tokenized}
            if "train" in tokenized:
                tokenized, sizes = self._clean(tokenized, self._places["train"], sizes)
                self.parts = parts_of(self._sources, sizes)
            self._tokenized = tokenized
            if "train" in self._tokenized:
                warn_of_one_label(self._tokenized["train"], self._places["train"])
        if not self._rows or mismatched != self._mismatched:
            self._mismatched = mismatched
            self._rows = {split: self._paired(split) for split in self._tokenized}
            self._lengths, self._content, self._columns, self._states = {}, None, None, None

    def forget(self) -> None:
        """Let `load` read the rows anew."""
        self._tokenized, self._rows = {}, {}

    def replace_training(self, source: Any) -> None:
        """Take other rows to train on, from the same split of another source; the other splits stay as they are.

        Raises:
            InputError: before anything was read, or naming the row that cannot be read.
        """
        if self.names.train is None:
            raise InputError("data.replace_dataset: the training rows stream: give a stream that changes by itself")
        if self._sources:
            raise InputError("data.replace_dataset: the run mixes data.sources, and other rows have no part in it")
        if not self._rows:
            raise InputError("data.replace_dataset: nothing was read yet: give the first dataset to the constructor")
        rows = self._tokenize(source, self.names.train, Keys())
        self._places["train"] = f"{describe(source)}, train rows"
        self._tokenized = self._clean({**self._tokenized, "train": rows}, self._places["train"], {}).rows
        warn_of_one_label(self._tokenized["train"], self._places["train"])
        self._rows["train"] = self._paired("train")
        self._lengths.pop("train", None)
        self._content = self._columns = None

    def _read(self, source: Any) -> SplitTables:
        if self._sources:
            sets = {split: self.names.sets(split) for split in ("val", "test")}
            train = self.names.train is not None
            return read_sources(self._sources, sets, self._tokenize, self._held_out, train=train)
        rows = {} if self.names.train is None else {"train": self._tokenize(source, self.names.train, Keys())}
        for split in ("val", "test"):
            for name, place in self.names.sets(split).items():
                key = f"{split}/{name}" if name else split
                if isinstance(place, str):
                    rows[key] = self._tokenize_set(source, place, f"data.{split}_split{name and f'.{name}'}")
                else:
                    rows["train"], rows[key] = self._held_out(rows["train"], place)
        return SplitTables(rows, {})

    def _tokenize_set(self, source: Any, place: str, key: str) -> datasets.Dataset:
        own, split = source_and_split(source, place)
        return self._tokenize(own, split, Keys(split=key) if own is source else Keys(key, key))

    def _held_out(self, rows: datasets.Dataset, fraction: float) -> tuple[datasets.Dataset, datasets.Dataset]:
        return hold_out(rows, fraction, self._seed, self.names.by)

    def _paired(self, split: str) -> datasets.Dataset:
        rows = self._tokenized[split]
        return with_mismatched(rows, self._max_length, self._seed, self._places[split]) if self._mismatched else rows
