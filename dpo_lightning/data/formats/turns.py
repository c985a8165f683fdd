"""Turns of a dialogue that rows leave to the reader: texts as messages, and a prompt that a dialogue repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import dropwhile
from typing import Any, Union

from dpo_lightning.data.column_paths import value
from dpo_lightning.data.formats.example import Conversation, Message


def asked(prompt: Union[str, Conversation]) -> Conversation:
    """Return a prompt as messages, a text as the user's."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def answer(completion: Union[str, Conversation]) -> Conversation:
    """Return a completion as messages, a text as the assistant's."""
    return [{"role": "assistant", "content": completion}] if isinstance(completion, str) else completion


def continues(prompt: Union[str, Conversation], dialogue: Conversation) -> bool:
    """Return whether the turns that two dialogues share have those of their prompt, which are then not put before them.

    White space around texts does not count. The dialogue may have a system turn that the prompt lacks, and a prompt
    of text may be any one of the user's turns.
    """
    if isinstance(prompt, str):
        return any(turn["role"] == "user" and turn.get("content", "").strip() == prompt.strip() for turn in dialogue)
    if prompt and not _is_system(prompt[0]):
        dialogue = list(dropwhile(_is_system, dialogue))
    return [*map(_stripped, dialogue[: len(prompt)])] == [*map(_stripped, prompt)]


def repeats(row: Mapping[str, Any], prompt: str, completions: Sequence[str]) -> bool:
    """Return whether text completions of a row begin with its prompt and go on after it."""
    opening, answers = value(row, prompt), [value(row, name) for name in completions]
    return (
        isinstance(opening, str)
        and bool(opening.strip())
        and all(isinstance(each, str) and each.startswith(opening) and each != opening for each in answers)
    )


def _is_system(message: Message) -> bool:
    return message["role"] in ("system", "developer")


def _stripped(message: Message) -> Message:
    return {name: part.strip() if isinstance(part, str) else part for name, part in message.items()}
