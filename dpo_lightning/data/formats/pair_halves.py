"""Pairs as labelled completions, for objectives that need no pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from dpo_lightning.batch import Column
from dpo_lightning.data.formats.base import Format
from dpo_lightning.data.formats.example import Example
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Compares


@dataclass(frozen=True)
class LabelledPairs(Format):
    """Pairs of any format, each as a prompt with a desirable and an undesirable completion.

    Args:
        pairs: The format that reads the rows. Its `ignore`, `as_messages` and `system` hold where none are given here.

    Example:
        >>> from dpo_lightning.data.formats import SwiftFormat
        >>> row = {
        ...     "messages": [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}],
        ...     "rejected_response": "3",
        ... }
        >>> LabelledPairs(SwiftFormat()).examples(row)[0].labels
        [True, False]
    """

    gives: ClassVar[Compares] = Compares.LABELLED

    pairs: Format

    def __post_init__(self) -> None:
        if not isinstance(self.pairs, Format) or self.pairs.gives is not Compares.PAIRS:
            raise InputError("LabelledPairs.pairs: give a format of pairs, such as RowFormat")
        for each in fields(Format):
            if getattr(self, each.name) is None:
                object.__setattr__(self, each.name, getattr(self.pairs, each.name))

    @property
    def columns(self) -> Mapping[str, Column]:
        """The columns of the pairs."""
        return self.pairs.columns

    @property
    def judges(self) -> bool:
        """True where the pairs' format reads a judgement."""
        return self.pairs.judges

    def found_in(self, rows: Sequence[Mapping[str, Any]], wanted: Compares | None = None) -> Format:
        """Return the same of the pairs' format that is found."""
        return replace(self, pairs=self.pairs.found_in(rows))

    def examples(self, row: Mapping[str, Any], quote: Callable[[str], str] = str) -> list[Example]:
        """Return the pairs of a row, with a label of each completion."""
        return [pair._replace(labels=[True, False]) for pair in self.pairs.examples(row, quote)]
