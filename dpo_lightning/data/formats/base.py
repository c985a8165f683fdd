"""The interface of formats: a row -> its examples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from dpo_lightning.batch import Column
from dpo_lightning.data.formats.example import Example
from dpo_lightning.losses import Compares


class Format(ABC):
    """A way to read rows: `RowFormat` for pairs, `UnpairedFormat` for completions with a label.

    To read rows of your own, implement `examples` in a frozen dataclass, say in `gives` what it returns, and in
    `columns` what else its examples have.

    Attributes:
        gives: What the examples of a row are, `Compares.PAIRS`, `Compares.LABELLED` or `Compares.LISTS`.
    """

    gives: ClassVar[Compares]

    @property
    def columns(self) -> Mapping[str, Column]:
        """The columns that each of its examples has a value of, by name: those of `COLUMNS`, or ones of your own."""
        return {}

    def found_in(self, rows: Sequence[Mapping[str, Any]]) -> Format:
        """Return the format that rows are read by: this one, unless it looks at them to find another.

        Args:
            rows: The first rows of a split.

        Raises:
            InputError: where none of the formats that it knows reads them.
        """
        return self

    @abstractmethod
    def examples(self, row: Mapping[str, Any], quote: Callable[[str], str] = str) -> list[Example]:
        """Check a row and return its examples.

        Args:
            row: Columns by name.
            quote: Marks the control tokens that a text of the row spells, before templates are put around it.

        Returns:
            One example or more.

        Raises:
            InputError: naming the field.
        """
