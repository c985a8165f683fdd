"""Tokens of examples as arrays, and the keys by which examples are compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from dpo_lightning.data.blocks import BLOCK
from dpo_lightning.data.cleaning.sequences import Sequences, mixed
from dpo_lightning.data.cleaning.words import words_key

if TYPE_CHECKING:
    import datasets

Decode = Callable[[Sequence[Sequence[int]]], list[str]]
"""Token ids of many texts -> the texts."""


class ExampleTokens:
    """Token ids of examples.

    Args:
        rows: Row of the source data of each example, `[examples]`.
        prompts: Tokens of each prompt.
        completions: Tokens of all completions, example after example.
        counts: Completions of each example, `[examples]`.
        labels: Label of each completion, `[completions]` bool; None for pairs and lists.
        words: The `words_key` of each example, `[examples]` int64; None where nobody has looked at texts.
    """

    def __init__(
        self,
        rows: np.ndarray,
        prompts: Sequences,
        completions: Sequences,
        counts: np.ndarray,
        labels: np.ndarray | None = None,
        words: np.ndarray | None = None,
    ) -> None:
        self.rows = rows
        self.prompts = prompts
        self.completions = completions
        self.counts = counts
        self.labels = labels
        self.words = words

    @classmethod
    def of_rows(cls, rows: datasets.Dataset) -> ExampleTokens:
        """Read tokenised rows, without building lists of ids."""
        blocks = [_of_table(block) for block in rows.with_format("arrow").iter(batch_size=BLOCK)]
        return cls.joined(blocks)

    @classmethod
    def joined(cls, parts: Sequence[ExampleTokens]) -> ExampleTokens:
        """Put examples one after the other."""
        none = np.empty(0, np.int64)
        labelled = any(part.labels is not None for part in parts)
        words = [part.words for part in parts if part.words is not None]
        return cls(
            np.concatenate([none, *(part.rows for part in parts)]),
            _joined([part.prompts for part in parts]),
            _joined([part.completions for part in parts]),
            np.concatenate([none, *(part.counts for part in parts)]),
            np.concatenate([none.astype(bool), *(part.preferred for part in parts)]) if labelled else None,
            np.concatenate([none, *words]) if len(words) == len(parts) else None,
        )

    def with_words(self, decode: Decode) -> ExampleTokens:
        """Return the same with `words`.

        Args:
            decode: Makes text of tokens.
        """
        words = np.empty(len(self), np.int64)
        starts = self.starts.tolist()
        for place, (first, last) in enumerate(pairwise(starts)):
            ids = self.prompts.one(place), *(self.completions.one(each) for each in range(first, last))
            prompt, *completions = decode([each.tolist() for each in ids])
            words[place] = words_key(
                prompt, completions, None if self.labels is None else self.labels[first:last].tolist()
            )
        return ExampleTokens(self.rows, self.prompts, self.completions, self.counts, self.labels, words)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def starts(self) -> np.ndarray:
        """Number of the first completion of each example, after which come its others, `[examples + 1]`."""
        return np.concatenate([[0], np.cumsum(self.counts)])

    @property
    def preferred(self) -> np.ndarray:
        """Mask of the completions that are labelled desirable or, without labels, come first, `[completions]` bool."""
        if self.labels is not None:
            return self.labels
        found = np.zeros(self.completions.size, dtype=bool)
        found[self.starts[:-1]] = True
        return found

    @cached_property
    def prompt_keys(self) -> np.ndarray:
        """Hash of each prompt, `[examples]` uint64."""
        return self.prompts.hashes()

    @cached_property
    def answers(self) -> np.ndarray:
        """Hash of each completion with its prompt, `[completions]` uint64, example after example."""
        prompts = np.repeat(self.prompt_keys, self.counts)
        return mixed(prompts * np.uint64(3) + self.completions.hashes())

    @property
    def example_of(self) -> np.ndarray:
        """Number of the example of each completion, `[completions]`."""
        return np.repeat(np.arange(len(self)), self.counts)

    @cached_property
    def example_keys(self) -> np.ndarray:
        """Hash of each example: its prompt, its completions in their order, their labels; `[examples]` uint64."""
        answers = self.answers if self.labels is None else mixed(self.answers + self.labels.astype(np.uint64))
        return Sequences(answers, self.starts).hashes()


def _joined(parts: Sequence[Sequences]) -> Sequences:
    offsets = np.cumsum([0, *(part.ends[-1] for part in parts)])
    ends = [np.zeros(1, np.int64), *(part.ends[1:] + offset for part, offset in zip(parts, offsets, strict=False))]
    return Sequences(np.concatenate([np.empty(0, np.int64), *(part.values for part in parts)]), np.concatenate(ends))


def _of_table(table: Any) -> ExampleTokens:
    import pyarrow.compute as pc

    lists = table["completion_ids"]
    counts = pc.list_value_length(lists).to_numpy().astype(np.int64)
    labels = pc.list_flatten(table["labels"]).to_numpy() if "labels" in table.column_names else None
    return ExampleTokens(
        table["row"].to_numpy().astype(np.int64),
        _sequences(table["prompt_ids"]),
        _sequences(pc.list_flatten(lists)),
        counts,
        labels,
    )


def _sequences(lists: Any) -> Sequences:
    import pyarrow.compute as pc

    lengths = pc.list_value_length(lists).to_numpy()
    return Sequences(pc.list_flatten(lists).to_numpy().astype(np.int64), np.concatenate([[0], np.cumsum(lengths)]))
