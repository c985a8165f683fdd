"""Messages of a row, checked; every field of theirs is kept for the chat template."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dpo_lightning.data.column_paths import required
from dpo_lightning.data.control_tokens import check_text
from dpo_lightning.data.formats.example import Conversation, Message
from dpo_lightning.errors import InputError

ROLES = ("system", "developer", "user", "assistant", "tool")
"""Roles that chat templates know, as a rule; further ones are known by those that name them."""
SAY = {"content", "tool_calls", "reasoning_content", "thinking", "reasoning"}
"""Fields in which a message says something."""


def check_completion(name: str, completion: Conversation) -> None:
    """Refuse messages that do not answer.

    Raises:
        InputError: naming the field, for none, and where the first or the last one is not the assistant's.
    """
    if not completion:
        raise InputError(f"field `{name}`: no message that answers the prompt")
    first, last = completion[0]["role"], completion[-1]["role"]
    for index, message in ((0, first), (len(completion) - 1, last)):
        if message not in ROLES:
            raise InputError(f"field `{name}`, message {index}: role {message!r:.40} is none of {', '.join(ROLES)}")
    if first != "assistant":
        raise InputError(
            f"field `{name}`: it begins with {first!r}: a completion begins with an assistant message, a whole "
            "dialogue with the messages of the prompt"
        )
    if last != "assistant":
        raise InputError(f"field `{name}`: it ends with {last!r}, not with an assistant message")


def shared_turns(chosen: Conversation, rejected: Conversation) -> int:
    """Messages that both dialogues share, cut back to where both go on with the assistant."""
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    while shared and not all(
        len(dialogue) > shared and dialogue[shared]["role"] == "assistant" for dialogue in (chosen, rejected)
    ):
        shared -= 1
    return shared


def quoted(value: Any, quote: Callable[[str], str]) -> Any:
    """Return messages, tools or arguments with every control token that a text of theirs spells marked as text.

    Roles and the names of fields stay as they are: templates compare them.
    """
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, Mapping):
        return {name: each if name == "role" else quoted(each, quote) for name, each in value.items()}
    return [quoted(each, quote) for each in value] if isinstance(value, list | tuple) else value


def without_nulls(value: Any) -> Any:
    """Return the value without the null fields of its mappings: those that Arrow adds where rows differ."""
    if isinstance(value, Mapping):
        return {name: without_nulls(each) for name, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list | tuple) else value


def text_or_messages(row: Mapping[str, Any], name: str) -> Any:
    """Return the value of a field, a text or a list of checked messages.

    Raises:
        InputError: naming the field, when it is missing, null, something else, or has a message that is none.
    """
    value = required(row, name)
    if isinstance(value, str):
        return check_text(value, f"field `{name}`")
    if not isinstance(value, list):
        given = value.items() if isinstance(value, Mapping) else ()
        inside = next((field for field, each in given if isinstance(each, str)), "")
        remedy = f": name a field of it, as in `{name}.{inside}`" if inside else ""
        raise InputError(f"field `{name}`: {kind(value)}, not text or a list of messages{remedy}")
    return [message_of(message, f"field `{name}`, message {index}") for index, message in enumerate(value)]


def message_of(message: Any, place: str) -> Message:
    """Return a message with all of its fields that are not null, text parts joined.

    A message without content has something else to say: `tool_calls`, or its reasoning.

    Raises:
        InputError: naming the place, for what is no message, and for content that is not text. Which roles there are
            is the chat template's to say.
    """
    if not isinstance(message, Mapping) or "role" not in message or not SAY & message.keys():
        raise InputError(f"{place}: not a mapping with `role` and `content`")
    found = without_nulls(message)
    role = message["role"]
    if not isinstance(role, str) or not role.strip():
        raise InputError(f"{place}: role {role!r:.40} is no name of a role")
    if "content" in found:
        found["content"] = _text_of(found["content"], place)
    elif not SAY & found.keys():
        raise InputError(f"{place}: content is null, not text")
    _check_texts_of(found, place)
    return found


def is_blank(message: Message) -> bool:
    """Return whether a message says nothing."""
    said = (message.get(name) for name in SAY)
    return not any(each.strip() if isinstance(each, str) else each for each in said)


def _text_of(content: Any, place: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InputError(f"{place}: content is {kind(content)}, not text")
    for part in content:
        if not isinstance(part, Mapping) or part.get("type", "text") != "text" or not isinstance(part.get("text"), str):
            named = part.get("type") if isinstance(part, Mapping) else kind(part)
            raise InputError(f"{place}: content has a part of type {named!r:.40}; only text is trained on")
    return "".join(part["text"] for part in content)


def _check_texts_of(value: Any, place: str) -> None:
    if isinstance(value, str):
        check_text(value, place)
    elif isinstance(value, Mapping):
        for name, each in value.items():
            _check_texts_of(each, f"{place}, `{name}`" if isinstance(each, Mapping | list) else place)
    elif isinstance(value, list | tuple):
        for each in value:
            _check_texts_of(each, place)


def kind(value: Any) -> str:
    """Return the type of a value in words."""
    return "null" if value is None else type(value).__name__
