"""Examples: a prompt, its completions, and what the data says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, Union

from dpo_lightning.batch import ColumnValue

Message: TypeAlias = dict[str, Any]
"""A message as a chat template reads it: `role`, `content`, and whatever else the template knows."""

Conversation: TypeAlias = list[Message]


class Example(NamedTuple):
    """A prompt with its completions, and what the data says of them: texts, or lists of messages.

    `pair` and `labelled` make two of the kinds that objectives read.

    Attributes:
        prompt: Text, or the messages of the prompt.
        completions: One or more, a pair's chosen one first: each a text, or messages without those of the prompt.
        labels: Whether each completion is desirable; None for what has no labels, such as pairs.
        columns: Values of the format's `columns` by name: a number, a list with a number of each completion, or text.
        tools: Definitions of the tools that the conversation may call, as the chat template reads them.
        template_arguments: Further arguments of the chat template for this row, such as `enable_thinking`; they come
            before those of the config.
        spans: Characters of each completion that count, from the first one to the one behind the last: of its text, or
            of the content of its only message; None where that is not said.
    """

    prompt: Union[str, Conversation]
    completions: list[Union[str, Conversation]]
    labels: Sequence[bool] | None = None
    columns: Mapping[str, ColumnValue] = {}
    tools: Sequence[Any] | None = None
    template_arguments: Mapping[str, Any] = {}
    spans: Sequence[Sequence[tuple[int, int]]] | None = None

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
        return cls(prompt, [completion], [label], columns)
