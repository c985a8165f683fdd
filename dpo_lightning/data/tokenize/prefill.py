"""Prompts that end with the beginning of an answer, which their completions continue."""

from __future__ import annotations

from dpo_lightning.data.formats import Conversation
from dpo_lightning.errors import InputError

_OF_A_COMPLETION = {"role", "content", "tool_calls"}


def continues(prompt: Conversation) -> bool:
    """Return whether the last message of a prompt is the assistant's: completions continue it."""
    return bool(prompt) and prompt[-1]["role"] == "assistant"


def joined(prompt: Conversation, completion: Conversation) -> Conversation:
    """Return the dialogue of a prompt and its completion; one that continues a message becomes a part of it.

    Raises:
        InputError: for a message that has no text to continue, and for a completion that has something to say before
            its text, such as thoughts.
    """
    if not continues(prompt):
        return prompt + completion
    begun, first = prompt[-1], completion[0]
    if not isinstance(begun.get("content"), str) or "tool_calls" in begun:
        raise InputError("the prompt ends with a message of the assistant that has no text to continue")
    before = [name for name in first if name not in _OF_A_COMPLETION and first[name] != begun.get(name)]
    if before:
        raise InputError(f"a completion that continues the prompt's last message has a `{before[0]}` of its own")
    whole = {**begun, **first, "content": begun["content"] + (first.get("content") or "")}
    return [*prompt[:-1], whole, *completion[1:]]
