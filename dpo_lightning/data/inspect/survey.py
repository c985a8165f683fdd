"""The rows of a source as they were read, split by split, as text and as tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from dpo_lightning.data.cleaning import ExampleTokens
from dpo_lightning.data.cleaning.sequences import Sequences
from dpo_lightning.data.inspect.columns import Columns
from dpo_lightning.data.inspect.said import Said
from dpo_lightning.data.lengths import Lengths
from dpo_lightning.data.tokenize import Outcome
from dpo_lightning.data.tokenize.boundary import Boundary

TRAIN = "train"


class Seen(NamedTuple):
    """An example as it was read, and as it would be trained on.

    Attributes:
        row: Row of the source data, from 0.
        said: Facts about the text of the prompt, as the model gets it, and of each completion, without what a chat
            template puts around it.
        labels: Whether each completion is desirable; None for pairs and lists.
        values: Texts of the row's own columns that may name a source, by name.
        templated: Whether a chat template has written it.
        spells_control: Whether a text spells a control token, which stays text.
        prompt_ids: Tokens of the prompt, after truncation.
        completion_ids: Tokens of each completion, after truncation.
        outcome: Whether it is trained on, or why not.
        truncated: Whether anything was cut off.
        whole: Tokens of prompt and completions before truncation.
        boundary: How the prompt ends.
        scored: Whether each token of each completion counts, one array each, empty where all do; nothing where all of
            all do.
        split: Name of its split.
    """

    row: int
    said: Said
    labels: Sequence[bool] | None
    values: Mapping[str, str]
    templated: bool
    spells_control: bool
    prompt_ids: np.ndarray
    completion_ids: list[np.ndarray]
    outcome: Outcome
    truncated: bool
    whole: tuple[int, ...]
    boundary: Boundary = Boundary.CLEAN
    scored: Sequence[np.ndarray] = ()
    split: str = TRAIN

    @property
    def kept(self) -> bool:
        """True where it is trained on."""
        return self.outcome == Outcome.KEPT

    @property
    def counts(self) -> list[np.ndarray]:
        """Masks of the tokens of each completion that count, `[tokens]` bool each."""
        masks = self.scored or [np.empty(0, bool)] * len(self.completion_ids)
        return [
            mask if len(mask) else np.ones(len(ids), bool) for mask, ids in zip(masks, self.completion_ids, strict=True)
        ]

    @property
    def preferred(self) -> list[int]:
        """Numbers of the completions that are desirable; of pairs and lists, that of the first one."""
        return [0] if self.labels is None else [number for number, label in enumerate(self.labels) if label]

    @property
    def others(self) -> list[int]:
        """Numbers of the completions that are not preferred."""
        preferred = self.preferred
        return [number for number in range(len(self.completion_ids)) if number not in preferred]

    @property
    def sides(self) -> tuple[int, int] | None:
        """Numbers of the best and of the worst completion; None where all are of one kind."""
        preferred, others = self.preferred, self.others
        return (preferred[0], others[-1]) if preferred and others else None


class Refused(NamedTuple):
    """A row that is not understood, and why."""

    row: int
    reason: str


@dataclass(frozen=True)
class Split:
    """Rows of a split as they were read.

    Args:
        place: The split as messages name it.
        rows: Rows that it has; None where it streams.
        looked_at: Rows that were read: all, or some of them.
        examples: What the rows say, one or more a row.
        refused: Rows that are not understood.
        undecided: Rows without a preference, which have no example.
        columns: What is read of the columns, and what is left.
        remedy: Argument of the chat template with which prompts end as answers begin; none where none is needed.
    """

    place: str
    rows: int | None
    looked_at: int
    examples: Sequence[Seen]
    refused: Sequence[Refused] = ()
    undecided: Sequence[int] = ()
    columns: Columns = Columns()  # noqa: RUF009 - frozen
    remedy: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def joined(cls, parts: Sequence[Split]) -> Split:
        """Put the examples of splits one after the other; they know which one they are of."""
        return cls(
            ", ".join(part.place for part in parts),
            sum(part.rows or 0 for part in parts),
            sum(part.looked_at for part in parts),
            list(chain.from_iterable(part.examples for part in parts)),
            list(chain.from_iterable(part.refused for part in parts)),
            list(chain.from_iterable(part.undecided for part in parts)),
        )

    @cached_property
    def kept(self) -> list[Seen]:
        """The examples that are trained on."""
        return [each for each in self.examples if each.kept]

    @cached_property
    def tokens(self) -> ExampleTokens:
        """Tokens of the examples that are trained on."""
        kept = self.kept
        labelled = any(each.labels is not None for each in kept)
        preferred = [
            number in each.preferred
            for each in (kept if labelled else ())
            for number in range(len(each.completion_ids))
        ]
        return ExampleTokens(
            np.array([each.row for each in kept], dtype=np.int64),
            Sequences.of(each.prompt_ids for each in kept),
            Sequences.of(ids for each in kept for ids in each.completion_ids),
            np.array([len(each.completion_ids) for each in kept], dtype=np.int64),
            np.array(preferred, dtype=bool) if labelled else None,
            np.array([each.said.key for each in kept], dtype=np.int64),
        )

    def rows_at(self, which: np.ndarray) -> dict[str, list[int]]:
        """Return the rows of some of the examples that are trained on, by split.

        Args:
            which: Which ones, `[kept]` bool.
        """
        found: dict[str, set[int]] = {}
        for place in np.flatnonzero(which).tolist():
            found.setdefault(self.kept[place].split, set()).add(self.kept[place].row)
        return {name: sorted(rows) for name, rows in found.items()}

    @cached_property
    def rows_kept(self) -> int:
        """Rows of which something is trained on."""
        return len({(each.split, each.row) for each in self.kept})

    @cached_property
    def rows_dropped(self) -> int:
        """Rows that are understood, and of which nothing is trained on."""
        read = {(each.split, each.row) for each in self.examples}
        return len(read) - self.rows_kept + len(self.undecided)

    @cached_property
    def lengths(self) -> Lengths:
        """Numbers of tokens of the examples that are trained on."""
        most = max((len(each.completion_ids) for each in self.kept), default=0)
        completions = np.zeros((len(self.kept), most), dtype=np.int64)
        for place, each in enumerate(self.kept):
            completions[place, : len(each.completion_ids)] = [len(ids) for ids in each.completion_ids]
        prompts = np.array([len(each.prompt_ids) for each in self.kept], dtype=np.int64)
        return Lengths(prompts, completions, np.zeros_like(prompts))


@dataclass(frozen=True)
class Survey:
    """All splits as they were read, and the settings that they were read by.

    Args:
        source: The source as messages name it.
        format: How rows were read, in words.
        splits: What was read, `train` first, or `train/<name>` of several sources; the others are held out.
        max_length: Most tokens of prompt and completion together; None where nothing is tokenised.
        batch_pairs: Examples of a micro-batch.
        seed: Seed of samples and of halves.
        unit: What lengths count: `tokens`, or `words` without a tokenizer.
        decode: Makes text of tokens.
        has_template: Whether the tokenizer has a chat template.
        bos: Token that begins a text; None where there is none.
        eos: Token that ends a text; None where there is none.
        held_out_share: Share of `train` that is held out for validation, 0 where none is.
    """

    source: str
    format: str
    splits: Mapping[str, Split]
    decode: Callable[[Sequence[int]], str]
    max_length: int | None = None
    batch_pairs: int = 8
    seed: int = 0
    unit: str = "tokens"
    has_template: bool = False
    bos: int | None = None
    eos: int | None = None
    held_out_share: float = 0.0

    @property
    def tokenized(self) -> bool:
        """True where there was a tokenizer."""
        return self.max_length is not None

    @cached_property
    def train(self) -> Split:
        """The split that is trained on; all of them where there are several sources."""
        parts = [split for name, split in self.splits.items() if _is_trained_on(name)]
        return parts[0] if len(parts) == 1 else Split.joined(parts)

    @property
    def others(self) -> dict[str, Split]:
        """The splits that are held out, by name."""
        return {name: split for name, split in self.splits.items() if not _is_trained_on(name)}

    @property
    def count(self) -> int:
        """Examples of all splits."""
        return sum(len(split.examples) for split in self.splits.values())

    def examples(self) -> Iterator[tuple[str, Seen]]:
        """Yield every example with the name of its split."""
        for name, split in self.splits.items():
            yield from ((name, each) for each in split.examples)

    def where(self, holds: Callable[[Seen], Any]) -> dict[str, list[int]]:
        """Return the rows of the examples of which something holds, by split; a row once."""
        found: dict[str, list[int]] = {}
        for name, each in self.examples():
            if holds(each) and found.setdefault(name, [])[-1:] != [each.row]:
                found[name].append(each.row)
        return found


def _is_trained_on(name: str) -> bool:
    return name.partition("/")[0] == TRAIN
