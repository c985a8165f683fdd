"""Tokens of examples, counted without building a list of ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dpo_lightning.batch import TokenizedExample
from dpo_lightning.data.blocks import read_blocks

if TYPE_CHECKING:
    import datasets

IDS = ("prompt_ids", "completion_ids", "mismatched_ids")
"""Columns of token ids."""


class Lengths(NamedTuple):
    """Tokens of examples.

    Attributes:
        prompt: Of each prompt, `[rows]`.
        completions: Of each completion, `[rows, K]` for at most `K` of them; 0 where a row has fewer.
        mismatched: Of the completion of another prompt, `[rows]`; 0 where there is none.
    """

    prompt: np.ndarray
    completions: np.ndarray
    mismatched: np.ndarray

    @classmethod
    def of_examples(cls, examples: Sequence[TokenizedExample]) -> Lengths:
        """Count the tokens of examples in memory."""
        return cls(
            np.array([len(each.prompt_ids) for each in examples], dtype=np.int64),
            _rectangle(
                np.array([len(each.completion_ids) for each in examples], dtype=np.int64),
                [len(ids) for each in examples for ids in each.completion_ids],
            ),
            np.array([len(each.mismatched_ids) for each in examples], dtype=np.int64),
        )

    @classmethod
    def of_rows(cls, rows: datasets.Dataset) -> Lengths:
        """Count the tokens of tokenised rows."""
        blocks = read_blocks(rows, IDS, cls.of_table)
        return cls.joined(blocks.parts).of(blocks.order)

    @classmethod
    def of_table(cls, table: Any) -> Lengths:
        """Count the tokens of an Arrow table of tokenised rows."""
        import pyarrow.compute as pc

        def count(lists: Any) -> np.ndarray:
            return pc.list_value_length(lists).to_numpy().astype(np.int64)

        prompt, completions = count(table["prompt_ids"]), table["completion_ids"]
        has_mismatched = "mismatched_ids" in table.column_names
        return cls(
            prompt,
            _rectangle(count(completions), count(pc.list_flatten(completions))),
            count(table["mismatched_ids"]) if has_mismatched else np.zeros_like(prompt),
        )

    @classmethod
    def joined(cls, parts: Sequence[Lengths]) -> Lengths:
        """Put the rows of parts one after the other."""
        width = max((part.completions.shape[1] for part in parts), default=0)
        none = np.empty(0, dtype=np.int64)
        return cls(
            np.concatenate([none, *(part.prompt for part in parts)]),
            np.concatenate([none.reshape(0, width), *(_widened(part.completions, width) for part in parts)])
            if width
            else none.reshape(0, 0),
            np.concatenate([none, *(part.mismatched for part in parts)]),
        )

    def of(self, rows: np.ndarray) -> Lengths:
        """Select rows by their positions."""
        return Lengths(self.prompt[rows], self.completions[rows], self.mismatched[rows])

    def first(self, most: int | None) -> Lengths:
        """Count at most so many completions of each row, and no mismatched one; None keeps everything."""
        if most is None:
            return self
        return Lengths(self.prompt, self.completions[:, :most], np.zeros_like(self.mismatched))

    @property
    def tokens(self) -> np.ndarray:
        """Tokens of each row, `[rows]`, the prompt once: its part of a packed row."""
        return self.prompt + self.completions.sum(1) + self.mismatched

    @property
    def longest(self) -> np.ndarray:
        """Tokens of each row's longest sequence, `[rows]`, prompt included: the width of a padded row."""
        return self.prompt + np.maximum(self.completions.max(1, initial=0), self.mismatched)

    @property
    def counts(self) -> np.ndarray:
        """Completions of each row that have tokens, `[rows]`, no mismatched one."""
        return (self.completions > 0).sum(1)

    @property
    def sequences(self) -> np.ndarray:
        """Sequences of each row that have tokens, `[rows]`: its rows of a padded batch."""
        return self.counts + (self.mismatched > 0)


def _rectangle(counts: np.ndarray, values: Sequence[int] | np.ndarray) -> np.ndarray:
    """The values, so many in each row, in an array `[rows, most]` filled with 0."""
    filled = np.zeros((len(counts), counts.max(initial=0)), dtype=np.int64)
    filled[np.arange(filled.shape[1]) < counts[:, None]] = values
    return filled


def _widened(completions: np.ndarray, width: int) -> np.ndarray:
    return np.pad(completions, ((0, 0), (0, width - completions.shape[1])))
