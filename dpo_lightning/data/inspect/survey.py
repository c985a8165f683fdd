"""The rows of a source as they were read, split by split, as text and as tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from dpo_lightning.data.cleaning import ExampleTokens
from dpo_lightning.data.cleaning.sequences import Sequences
from dpo_lightning.data.lengths import Lengths
from dpo_lightning.data.tokenize import Outcome

TRAIN = "train"


class Seen(NamedTuple):
    """An example as it was read, and as it would be trained on.

    Attributes:
        row: Row of the source data, from 0.
        prompt: Text of the prompt, as the model gets it.
        completions: Text of each completion, without what a chat template puts around it.
        label: Whether a single completion is desirable; None for pairs and lists.
        values: Short texts of the row's own columns, by name.
        templated: Whether a chat template has written it.
        spells_control: Whether a text spells a control token, which stays text.
        prompt_ids: Tokens of the prompt, after truncation.
        completion_ids: Tokens of each completion, after truncation.
        outcome: Whether it is trained on, or why not.
        truncated: Whether anything was cut off.
        whole: Tokens of prompt and completions before truncation.
        merged: Whether tokens would merge across the boundary of prompt and completion; None where nobody has looked.
    """

    row: int
    prompt: str
    completions: list[str]
    label: bool | None
    values: Mapping[str, str]
    templated: bool
    spells_control: bool
    prompt_ids: np.ndarray
    completion_ids: list[np.ndarray]
    outcome: Outcome
    truncated: bool
    whole: tuple[int, ...]
    merged: bool | None = None

    @property
    def kept(self) -> bool:
        """True where it is trained on."""
        return self.outcome == Outcome.KEPT


class Refused(NamedTuple):
    """A row that is not understood, and why."""

    row: int
    reason: str


@dataclass(frozen=True)
class Split:
    """Rows of a split as they were read.

    Args:
        place: The split as messages name it.
        rows: Rows that it has.
        looked_at: Rows that were read: all, or a sample of them.
        examples: What the rows say, one or more a row.
        refused: Rows that are not understood.
        read: Columns that the format reads.
        unread: Columns that the format does not read, and how many of the rows looked at have a value there.
    """

    place: str
    rows: int
    looked_at: int
    examples: Sequence[Seen]
    refused: Sequence[Refused] = ()
    read: Sequence[str] = ()
    unread: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def kept(self) -> list[Seen]:
        """The examples that are trained on."""
        return [each for each in self.examples if each.kept]

    @cached_property
    def tokens(self) -> ExampleTokens:
        """Tokens of the examples that are trained on."""
        kept = self.kept
        labels = [each.label for each in kept if each.label is not None]
        return ExampleTokens(
            np.array([each.row for each in kept], dtype=np.int64),
            Sequences.of(each.prompt_ids for each in kept),
            Sequences.of(ids for each in kept for ids in each.completion_ids),
            np.array([len(each.completion_ids) for each in kept], dtype=np.int64),
            np.array(labels, dtype=bool) if labels else None,
        )

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
        splits: What was read, `train` first; the others are held out.
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

    @property
    def train(self) -> Split:
        """The split that is trained on."""
        return self.splits[TRAIN]

    @property
    def others(self) -> dict[str, Split]:
        """The splits that are held out, by name."""
        return {name: split for name, split in self.splits.items() if name != TRAIN}

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
