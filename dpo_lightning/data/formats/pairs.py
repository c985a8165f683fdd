"""Pairs whose prompt, chosen and rejected completion stand in rows of other shapes than TRL's."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Optional, Union

from dpo_lightning.batch import Column, ColumnValue
from dpo_lightning.data.column_paths import has, required
from dpo_lightning.data.column_paths import value as value_at
from dpo_lightning.data.columns import ColumnSource, check_sources, declared, named_columns, read_columns
from dpo_lightning.data.formats.decoded import decoded
from dpo_lightning.data.formats.example import Example
from dpo_lightning.data.formats.framed import FramedFormat
from dpo_lightning.data.formats.row import RowFormat
from dpo_lightning.data.formats.spelling import respelled
from dpo_lightning.data.formats.template_inputs import ARGUMENTS, TOOLS
from dpo_lightning.data.formats.turns import answer, with_input
from dpo_lightning.data.text_templates import fields
from dpo_lightning.losses import Compares


class Side(NamedTuple):
    """A completion as it stands in a row.

    Attributes:
        name: Its field, as messages name it.
        value: A text, a message, or a list of messages, in any spelling of `respelled`.
        number: Its place in a list of completions.
    """

    name: str
    value: Any
    number: int = 0


@dataclass(frozen=True)
class PairFormat(FramedFormat):
    """A row that is read as TRL's: prompt, chosen and rejected are found, then `RowFormat` checks and splits them.

    A format of your own says in `sides` where the two completions are.

    Args:
        prompt: Column of the prompt, or a path such as `input.messages`: a text, or messages. A row without the
            column `prompt` holds whole dialogues; one of another name must be there.
        input: Column of a further text of the prompt, as Alpaca has it; it is put below the first where it is there.
        tools: Column, or path, of the definitions of tools.
        json_columns: Columns of text that hold JSON, such as lists of messages.
        roles: Names of roles beside the known ones, and what they are: `{customer: user}`.
        margin: Column of the margin, or two whose difference it is, as in `RowFormat`.
        probability: Column of the probability that the chosen completion is the better one, as in `RowFormat`.
        weight: Column of the weight, as in `RowFormat`.
    """

    gives: ClassVar[Compares] = Compares.PAIRS

    prompt: str = "prompt"
    input: Optional[str] = None
    tools: Optional[str] = TOOLS
    json_columns: Optional[list[str]] = None
    roles: Optional[dict[str, str]] = None
    margin: Optional[Union[str, list[str]]] = None
    probability: Optional[str] = None
    weight: Optional[str] = None

    def __post_init__(self) -> None:
        check_sources(self.columns_named, type(self).__name__)
        super().__post_init__()

    @property
    def columns_named(self) -> Mapping[str, ColumnSource]:
        """The columns of numbers that are given, and where they are in a row."""
        return named_columns(self)

    @property
    def columns(self) -> Mapping[str, Column]:
        """The columns that are given."""
        return declared(self.columns_named, self.texts)

    @abstractmethod
    def sides(self, row: Mapping[str, Any]) -> Iterable[tuple[Side, Side]]:
        """Return the chosen and the rejected completion of each pair of a row.

        Raises:
            InputError: naming the field.
            NoPreference: for a row that prefers none.
        """

    def examples(self, row: Mapping[str, Any], quote: Callable[[str], str] = str) -> list[Example]:
        """Return the pairs of a row, with the values of the named columns."""
        read = decoded(row, self.json_columns)
        return [
            self.pair(read, *sides, quote)._replace(columns=self.values(read, *sides)) for sides in self.sides(read)
        ]

    def written(self, row: Mapping[str, Any]) -> tuple[Any, Sequence[Any]]:
        """Return the prompt of a row and the completions of its pairs as they stand in it."""
        read = decoded(row, self.json_columns)
        return self.prompt_of(read), [side.value for sides in self.sides(read) for side in sides]

    def values(self, row: Mapping[str, Any], chosen: Side, rejected: Side) -> Mapping[str, ColumnValue]:
        """Return the values of the named columns for a pair."""
        return read_columns(self.columns_named, self.texts, row)

    def pair(self, row: Mapping[str, Any], chosen: Side, rejected: Side, quote: Callable[[str], str] = str) -> Example:
        """Check two completions of a row and make a pair of them.

        Raises:
            InputError: naming the field, as `RowFormat.parse` does.
        """
        sides = [respelled(side.value, f"field `{side.name}`", self.roles) for side in (chosen, rejected)]
        if any(isinstance(side, list) for side in sides):
            sides = [answer(side) if isinstance(side, str) else side for side in sides]
        prompt = self.prompt_of(row)
        name = _IMPLICIT if prompt is None else self.prompt
        texts = dict(zip((name, chosen.name, rejected.name), (prompt, *sides), strict=True))
        beside = {TOOLS: value_at(row, self.tools) if self.tools else None, ARGUMENTS: row.get(ARGUMENTS)}
        named = [name for name in fields(self.prompt_template) if name != "prompt" and has(row, name)]
        given = {name: value for name, value in texts.items() if value is not None or name != _IMPLICIT}
        reader = _reader(name, chosen.name, rejected.name, tuple(self.framing.items()))
        return reader.parse({**{name: value_at(row, name) for name in named}, **beside, **given}, quote)

    def prompt_of(self, row: Mapping[str, Any]) -> Any:
        """Return the prompt, a text or messages; None where the row has whole dialogues."""
        prompt = self._prompt(row)
        if self.input is None:
            return prompt
        return with_input(self.prompt, prompt, self.input, value_at(row, self.input))

    def _prompt(self, row: Mapping[str, Any]) -> Any:
        if self.prompt == _IMPLICIT and not has(row, self.prompt):
            return None
        return respelled(required(row, self.prompt), f"field `{self.prompt}`", self.roles)


_IMPLICIT = RowFormat.prompt  # a column that `RowFormat` does without


@lru_cache(maxsize=256)
def _reader(prompt: str, chosen: str, rejected: str, framing: tuple[tuple[str, Any], ...]) -> RowFormat:
    return RowFormat(prompt, chosen, rejected, **dict(framing))
