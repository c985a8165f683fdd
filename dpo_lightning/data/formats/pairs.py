"""Pairs whose prompt, chosen and rejected completion stand in rows of other shapes than TRL's."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Optional, Union

from dpo_lightning.batch import COLUMNS, Column, ColumnValue
from dpo_lightning.data.columns import ColumnSource, check_sources, check_texts, declared, read_columns
from dpo_lightning.data.formats.base import Format
from dpo_lightning.data.formats.example import Conversation, Example
from dpo_lightning.data.formats.paths import at, decoded, required_at
from dpo_lightning.data.formats.row import RowFormat
from dpo_lightning.data.formats.spelling import respelled
from dpo_lightning.data.formats.template_inputs import ARGUMENTS, TOOLS
from dpo_lightning.data.formats.turns import answer, asked
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Compares
from dpo_lightning.utils.kinds import check_fields


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
class PairFormat(Format):
    """A row that is read as TRL's: prompt, chosen and rejected are found, then `RowFormat` checks and splits them.

    A format of your own says in `sides` where the two completions are.

    Args:
        prompt: Column of the prompt, or a path such as `input.messages`: a text, or messages. A row without it holds
            whole dialogues.
        input: Column of a further text of the prompt, as Alpaca has it; it is put below the first where it is there.
        system: Column of a text for the system; it becomes the first message where it is there.
        tools: Column, or path, of the definitions of tools.
        as_messages: Take texts for messages of the user and the assistant, which the chat template writes.
        json_columns: Columns of text that hold JSON, such as lists of messages.
        roles: Names of roles beside the known ones, and what they are: `{customer: user}`.
        margin: Column of the margin, or two whose difference it is, as in `RowFormat`.
        weight: Column of the weight, as in `RowFormat`.
        texts: Columns of text that go along, as in `RowFormat`.
    """

    gives: ClassVar[Compares] = Compares.PAIRS

    prompt: str = "prompt"
    input: Optional[str] = None
    system: Optional[str] = "system"
    tools: Optional[str] = TOOLS
    as_messages: bool = False
    json_columns: Optional[list[str]] = None
    roles: Optional[dict[str, str]] = None
    margin: Optional[Union[str, list[str]]] = None
    weight: Optional[str] = None
    texts: Optional[list[str]] = None

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_sources(self.columns_named, name)
        check_texts(self.texts, name)
        check_fields(self, f"{name}.")

    @property
    def columns_named(self) -> Mapping[str, ColumnSource]:
        """The columns of numbers that are given, and where they are in a row."""
        return {name: source for name in COLUMNS if (source := getattr(self, name, None)) is not None}

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

    def values(self, row: Mapping[str, Any], chosen: Side, rejected: Side) -> Mapping[str, ColumnValue]:
        """Return the values of the named columns for a pair."""
        return read_columns(self.columns_named, self.texts, row)

    def pair(self, row: Mapping[str, Any], chosen: Side, rejected: Side, quote: Callable[[str], str] = str) -> Example:
        """Check two completions of a row and make a pair of them.

        Raises:
            InputError: naming the field, as `RowFormat.parse` does.
        """
        sides = [respelled(side.value, f"field `{side.name}`", self.roles) for side in (chosen, rejected)]
        triple = self._written(self.prompt_of(row), self._system(row), sides)
        fields = dict(zip((self.prompt, chosen.name, rejected.name), triple, strict=True))
        beside = {TOOLS: at(row, self.tools) if self.tools else None, ARGUMENTS: row.get(ARGUMENTS)}
        given = {name: value for name, value in fields.items() if value is not None or name != self.prompt}
        return _reader(self.prompt, chosen.name, rejected.name).parse({**beside, **given}, quote)

    def prompt_of(self, row: Mapping[str, Any]) -> Any:
        """Return the prompt, a text or messages; None where the row has whole dialogues."""
        prompt = self._prompt(row)
        further = None if self.input is None else at(row, self.input)
        if further is None or (isinstance(further, str) and not further.strip()):
            return prompt
        for name, value in ((self.prompt, prompt), (self.input, further)):
            if not isinstance(value, str):
                raise InputError(f"field `{name}`: not text, which a prompt of `{self.prompt}` and `{self.input}` is")
        return f"{prompt}\n{further}" if prompt.strip() else further

    def _prompt(self, row: Mapping[str, Any]) -> Any:
        if at(row, self.prompt) is None and self.prompt.partition(".")[0] not in row:
            return None
        return respelled(required_at(row, self.prompt), f"field `{self.prompt}`", self.roles)

    def _system(self, row: Mapping[str, Any]) -> str:
        system = None if self.system is None else at(row, self.system)
        if system is None:
            return ""
        if not isinstance(system, str):
            raise InputError(f"field `{self.system}`: {type(system).__name__}, not text")
        return system if system.strip() else ""

    def _written(self, prompt: Any, system: str, sides: list[Any]) -> tuple[Any, ...]:
        """Prompt and completions, all as texts or all as messages."""
        if not (self.as_messages or isinstance(prompt, list) or any(isinstance(side, list) for side in sides)):
            if system:
                raise InputError(
                    f"field `{self.system}`: the row's other texts are no messages: set format.as_messages, or "
                    "format.system to null to leave it out"
                )
            return (prompt, *sides)
        if prompt is None or _are_dialogues(sides):
            return (prompt, *(_with_system(system, side, self.system) for side in sides))
        texts = [answer(side) if isinstance(side, str) else side for side in sides]
        return (_with_system(system, asked(prompt) if isinstance(prompt, str) else prompt, self.system), *texts)


def _are_dialogues(sides: list[Any]) -> bool:
    """Return whether completions begin with the turns of the prompt."""
    return all(
        isinstance(side, list) and side and isinstance(side[0], Mapping) and side[0].get("role") != "assistant"
        for side in sides
    )


def _with_system(system: str, messages: Any, name: str | None) -> Conversation:
    if not system or not isinstance(messages, list):
        return messages  # what is no list is refused by the reader
    if messages and isinstance(messages[0], Mapping) and messages[0].get("role") == "system":
        if messages[0].get("content") != system:
            raise InputError(f"field `{name}`: the messages have another system turn")
        return messages
    return [{"role": "system", "content": system}, *messages]


@lru_cache(maxsize=256)
def _reader(prompt: str, chosen: str, rejected: str) -> RowFormat:
    return RowFormat(prompt, chosen, rejected)
