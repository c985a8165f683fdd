"""The interface of formats: a row -> its examples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Optional

from dpo_lightning.batch import Column
from dpo_lightning.data.formats.example import Example
from dpo_lightning.losses import Compares


@dataclass(frozen=True, eq=False)
class Format(ABC):
    """A way to read rows: `RowFormat` for pairs, `UnpairedFormat` for completions with a label.

    To read rows of your own, implement `examples` in a frozen dataclass, say in `gives` what it returns, and in
    `columns` what else its examples have.

    Args:
        ignore: Columns that the rows are read without, as if the data had none of that name. A path such as
            `input.tools`, or a key of messages, stays where it is: that nobody reads it is not said.
        as_messages: Write rows of text by the tokenizer's chat template: the prompt as a user message, each completion
            as the assistant's. False trains on text as it is; so does null, which says so where there is a template.
        system: Column of the system prompt, which stands before the messages of its row, unless it is blank.

    Attributes:
        gives: What the examples of a row are, `Compares.PAIRS`, `Compares.LABELLED` or `Compares.LISTS`.
    """

    gives: ClassVar[Compares]

    ignore: Optional[list[str]] = field(default=None, kw_only=True)
    as_messages: Optional[bool] = field(default=None, kw_only=True)
    system: Optional[str] = field(default=None, kw_only=True)

    @property
    def columns(self) -> Mapping[str, Column]:
        """The columns that each of its examples has a value of, by name: those of `COLUMNS`, or ones of your own."""
        return {}

    @property
    def judges(self) -> bool:
        """True where it reads a judgement of the completions, so that others may stand beside it."""
        return False

    @property
    def looks(self) -> bool:
        """True where the kind of its examples is known only after `found_in` has looked at rows."""
        return False

    def found_in(self, rows: Sequence[Mapping[str, Any]], wanted: Compares | None = None) -> Format:
        """Return the format that rows are read by: this one, unless it looks at them to find another.

        Args:
            rows: The first rows of a split.
            wanted: The examples that the objective reads, where there is one.

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
