"""A row of a dataset -> what is trained on; every field is checked here, with the row and the field named."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Optional, TypeAlias, Union

from dpo_lightning.batch import COLUMNS, Column, ColumnValue
from dpo_lightning.data.columns import (
    ColumnSource,
    check_framing,
    check_sources,
    check_texts,
    declared,
    read_columns,
    required,
)
from dpo_lightning.data.control_tokens import check_text
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Compares

Message: TypeAlias = dict[str, str]
Conversation: TypeAlias = list[Message]

_ROLES = ("system", "developer", "user", "assistant", "tool")


class Example(NamedTuple):
    """A prompt with its completions, and what the data says of them: texts, or lists of messages.

    `pair` and `labelled` make the two kinds that objectives read.

    Attributes:
        prompt: Text, or the messages of the prompt.
        completions: One or more, a pair's chosen one first: each a text, or messages without those of the prompt.
        label: Whether a single completion is desirable; None for pairs.
        columns: Values of the format's `columns` by name: a number, a list with a number of each completion, or text.
    """

    prompt: Union[str, Conversation]
    completions: list[Union[str, Conversation]]
    label: bool | None = None
    columns: Mapping[str, ColumnValue] = {}

    @classmethod
    def pair(
        cls,
        prompt: Union[str, Conversation],
        chosen: Union[str, Conversation],
        rejected: Union[str, Conversation],
        **columns: ColumnValue,
    ) -> Example:
        """Make a pair, with the values of its columns."""
        return cls(prompt, [chosen, rejected], columns=columns)

    @classmethod
    def labelled(
        cls,
        prompt: Union[str, Conversation],
        completion: Union[str, Conversation],
        label: bool,
        **columns: ColumnValue,
    ) -> Example:
        """Make a labelled completion, with the values of its columns."""
        return cls(prompt, [completion], label, columns)


class Format(ABC):
    """A way to read rows: `RowFormat` for pairs, `UnpairedFormat` for single completions with a label.

    To read rows of your own, implement `examples` in a frozen dataclass, say in `gives` what it returns, and in
    `columns` what else its examples have.

    Attributes:
        gives: What the examples of a row are, `Compares.PAIRS` or `Compares.LABELLED`.
    """

    gives: ClassVar[Compares]

    @property
    def columns(self) -> Mapping[str, Column]:
        """The columns that each of its examples has a value of, by name: those of `COLUMNS`, or ones of your own."""
        return {}

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


@dataclass(frozen=True)
class RowFormat(Format):
    r"""A row with a preference triple: its columns, and the frame of plain text.

    A row without the prompt column has an *implicit prompt*: its two completions are whole dialogues, which are split
    at the last turn that both share, never inside a word.

    Args:
        prompt: Column of the prompt: text, or a list of messages.
        chosen: Column of the preferred completion, or of the whole dialogue.
        rejected: Column of the other completion, or of the whole dialogue.
        prompt_template: Text around a plain-text prompt; `{prompt}` stands for it.
        completion_template: Text around a plain-text completion; `{completion}` stands for it.
        turn_marker: What opens the assistant's turns in plain-text dialogues with an implicit prompt.
        control_tokens: Take control tokens that plain text spells, such as `<|im_start|>`, for the tokenizer's own: for
            rows to which a chat template was applied already. Otherwise they stay text.
        margin: Column of the chosen completion's true reward minus the rejected one's, or the two columns whose
            difference that is, such as `[score_chosen, score_rejected]`; for objectives that read it.
        probability: Column of the probability that the chosen completion is the better one, for objectives that read
            it.
        weight: Column of what a pair's loss is multiplied by, for objectives that read it.
        texts: Columns of text, such as `[source, category]`, that go along in `PreferenceBatch.texts`: for metrics of
            your own, and beside predicted rewards.

    Example:
        >>> row = {"question": "1 + 1?", "chosen": "2", "rejected": "3", "good": 4, "bad": 1.5}
        >>> read = RowFormat(prompt="question", prompt_template="Q: {prompt} A:", margin=["good", "bad"])
        >>> example = read.examples(row)[0]
        >>> example.prompt, example.completions, example.columns
        ('Q: 1 + 1? A:', ['2', '3'], {'margin': 2.5})
    """

    gives: ClassVar[Compares] = Compares.PAIRS

    prompt: str = "prompt"
    chosen: str = "chosen"
    rejected: str = "rejected"
    prompt_template: str = "{prompt}"
    completion_template: str = "{completion}"
    turn_marker: str = "\n\nAssistant:"
    control_tokens: bool = False
    margin: Optional[Union[str, list[str]]] = None
    probability: Optional[str] = None
    weight: Optional[str] = None
    texts: Optional[list[str]] = None

    def __post_init__(self) -> None:
        check_sources(self.columns_named)
        check_texts(self.texts, "RowFormat")
        check_framing(self)

    @property
    def columns_named(self) -> Mapping[str, ColumnSource]:
        """The columns of numbers that are given, and where they are in a row."""
        return {name: source for name in COLUMNS if (source := getattr(self, name)) is not None}

    @property
    def columns(self) -> Mapping[str, Column]:
        """The columns that are given."""
        return declared(self.columns_named, self.texts)

    def examples(self, row: Mapping[str, Any], quote: Callable[[str], str] = str) -> list[Example]:
        """Return the row's pair, see `parse`, with the values of the named columns."""
        return [self.parse(row, quote)._replace(columns=read_columns(self.columns_named, self.texts, row))]

    def parse(self, row: Mapping[str, Any], quote: Callable[[str], str] = str) -> Example:
        """Check the texts of a row and make a pair of them.

        Args:
            row: Columns by name.
            quote: Marks the control tokens that a text of the row spells, before templates are put around it.

        Raises:
            InputError: naming the field, when one is missing, null, of another type, or has wrong roles.
        """
        chosen, rejected = _field(row, self.chosen), _field(row, self.rejected)
        if isinstance(chosen, str) != isinstance(rejected, str):
            raise InputError(f"fields `{self.chosen}` and `{self.rejected}`: one is text, the other a list of messages")
        if isinstance(chosen, str):
            return self._frame_all(*map(str if self.control_tokens else quote, self._texts(row, chosen, rejected)))
        if self.control_tokens:
            raise InputError("format.control_tokens is for rows of text: the rows are messages, so leave it out")
        return Example.pair(*(_quoted(part, quote) for part in self._messages(row, chosen, rejected)))

    def _texts(self, row: Mapping[str, Any], chosen: str, rejected: str) -> tuple[str, str, str]:
        if self.prompt not in row:
            return self._split_dialogues(chosen, rejected)
        prompt = _field(row, self.prompt)
        if not isinstance(prompt, str):
            raise InputError(f"field `{self.prompt}`: a list of messages, but `{self.chosen}` is text")
        return prompt, chosen, rejected

    def _frame_all(self, prompt: str, chosen: str, rejected: str) -> Example:
        framed = self.prompt_template.replace("{prompt}", prompt)
        return Example.pair(framed, self._frame(chosen), self._frame(rejected))

    def _frame(self, completion: str) -> str:
        # A blank completion stays blank, so that it is counted as empty.
        return self.completion_template.replace("{completion}", completion) if completion.strip() else completion

    def _split_dialogues(self, chosen: str, rejected: str) -> tuple[str, str, str]:
        shared = os.path.commonprefix([chosen, rejected])  # noqa: RUF071 - of texts, character by character
        start = shared.rfind(self.turn_marker)
        if start < 0:
            raise InputError(
                f"no column `{self.prompt}`, and {self._both} no turn that opens with {self.turn_marker!r}: name "
                "the prompt column in `format.prompt`, or set `format.turn_marker`"
            )
        end = start + len(self.turn_marker)
        return shared[:end], chosen[end:], rejected[end:]

    @property
    def _both(self) -> str:
        """Subject and verb of what the dialogues have in common; of one dialogue, where it stands for both."""
        one = self.chosen == self.rejected
        return f"`{self.chosen}` has" if one else f"`{self.chosen}` and `{self.rejected}` share"

    def _messages(
        self, row: Mapping[str, Any], chosen: Conversation, rejected: Conversation
    ) -> tuple[Conversation, Conversation, Conversation]:
        prompt = _field(row, self.prompt) if self.prompt in row else []
        if isinstance(prompt, str):
            prompt = [{"role": "user", "content": prompt}]
        if chosen[: len(prompt)] == prompt == rejected[: len(prompt)]:
            shared = _shared_turns(chosen, rejected)
            prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
        if not prompt:
            raise InputError(
                f"fields `{self.chosen}` and `{self.rejected}`: after the turns that they share, both must go on with "
                "an assistant message"
            )
        if prompt[-1]["role"] == "assistant":
            raise InputError(f"field `{self.prompt}`: the last message is the assistant's, so there is none to answer")
        for name, completion in ((self.chosen, chosen), (self.rejected, rejected)):
            _check_completion(name, completion)
        return prompt, chosen, rejected


def _check_completion(name: str, completion: Conversation) -> None:
    if not completion:
        raise InputError(f"field `{name}`: no message that answers the prompt")
    first, last = completion[0]["role"], completion[-1]["role"]
    if first != "assistant":
        raise InputError(
            f"field `{name}`: it begins with {first!r}: a completion begins with an assistant message, a whole "
            "dialogue with the messages of the prompt"
        )
    if last != "assistant":
        raise InputError(f"field `{name}`: it ends with {last!r}, not with an assistant message")


def _shared_turns(chosen: Conversation, rejected: Conversation) -> int:
    """Messages that both dialogues share, cut back to where both go on with the assistant."""
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    while shared and not all(
        len(dialogue) > shared and dialogue[shared]["role"] == "assistant" for dialogue in (chosen, rejected)
    ):
        shared -= 1
    return shared


def _quoted(messages: Conversation, quote: Callable[[str], str]) -> Conversation:
    return [{**message, "content": quote(message["content"])} for message in messages]


def _field(row: Mapping[str, Any], name: str) -> Any:
    value = required(row, name)
    if isinstance(value, str):
        return check_text(value, f"field `{name}`")
    if not isinstance(value, list):
        raise InputError(f"field `{name}`: {_kind(value)}, not text or a list of messages")
    return [_message(message, f"field `{name}`, message {index}") for index, message in enumerate(value)]


def _message(message: Any, place: str) -> Message:
    if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
        raise InputError(f"{place}: not a mapping with `role` and `content`")
    role, content = message["role"], message["content"]
    if role not in _ROLES:
        raise InputError(f"{place}: role {role!r:.40} is none of {', '.join(_ROLES)}")
    if not isinstance(content, str):
        raise InputError(f"{place}: content is {_kind(content)}, not text")
    if message.get("tool_calls"):
        raise InputError(f"{place}: `tool_calls` are not supported: write the call into the content")
    return {"role": role, "content": check_text(content, place)}


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__
