"""Rows of ms-swift: a dialogue that ends with the chosen answer, and the rejected answer beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dpo_lightning.data.column_paths import required
from dpo_lightning.data.column_paths import value as value_at
from dpo_lightning.data.formats.pairs import PairFormat, Side
from dpo_lightning.data.formats.spelling import respelled
from dpo_lightning.errors import InputError


@dataclass(frozen=True)
class SwiftFormat(PairFormat):
    """A dialogue whose last turn is the chosen answer; the rejected one is text, or a whole dialogue of its own.

    Source: the custom-dataset page of ms-swift (`messages`, `rejected_response`, `rejected_messages`). The further
    settings are those of `PairFormat`; `prompt` means nothing here.

    Args:
        messages: Column of the dialogue with the chosen answer.
        rejected_response: Column of the rejected answer.
        rejected_messages: Column of the dialogue with the rejected answer, for rows that have it instead.

    Example:
        >>> row = {
        ...     "messages": [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}],
        ...     "rejected_response": "3",
        ... }
        >>> SwiftFormat().examples(row)[0].completions
        [[{'role': 'assistant', 'content': '2'}], [{'role': 'assistant', 'content': '3'}]]
    """

    messages: str = "messages"
    rejected_response: str = "rejected_response"
    rejected_messages: str = "rejected_messages"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, given in (("prompt", self.prompt != "prompt"), ("input", self.input is not None)):
            if given:
                raise InputError(f"SwiftFormat.{name}: the prompt stands in `{self.messages}`: leave it out")

    def sides(self, row: Mapping[str, Any]) -> Iterable[tuple[Side, Side]]:
        """Return the dialogue as it is and with the other answer."""
        chosen = Side(self.messages, required(row, self.messages))
        whole, text = value_at(row, self.rejected_messages), value_at(row, self.rejected_response)
        if (whole is None) == (text is None):
            both = f"`{self.rejected_response}` and `{self.rejected_messages}`"
            raise InputError(f"fields {both}: {'none' if text is None else 'each'} of them has a rejected answer")
        if whole is not None:
            return [(chosen, Side(self.rejected_messages, whole))]
        return [(chosen, self._rejected(chosen, text))]

    def prompt_of(self, row: Mapping[str, Any]) -> Any:
        """Return None: the prompt is what the two dialogues share."""
        return None

    def _rejected(self, chosen: Side, text: Any) -> Side:
        answer = respelled(text, f"field `{self.rejected_response}`", self.roles)
        dialogue = respelled(chosen.value, f"field `{chosen.name}`", self.roles)
        if not isinstance(dialogue, list):
            raise InputError(f"field `{chosen.name}`: {type(dialogue).__name__}, not a list of messages")
        answers = [{"role": "assistant", "content": answer}] if isinstance(answer, str) else answer
        if not isinstance(answers, list):
            raise InputError(f"field `{self.rejected_response}`: {type(text).__name__}, not text")
        return Side(self.rejected_response, [*dialogue[:-1], *answers])
