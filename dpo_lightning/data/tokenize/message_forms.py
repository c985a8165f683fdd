"""Forms of the same messages: templates read content as text or as parts, and arguments as mappings or as JSON text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dpo_lightning.data.formats import Conversation, Message


def forms(messages: Conversation) -> Iterator[Conversation]:
    """Yield messages in the forms that a chat template may read, the usual one first.

    Arguments of tool calls are mappings, as vLLM gives them to templates whatever a request holds, or JSON text, which
    DeepSeek's join to other text; a call without content gets an empty one; a text becomes a part, for templates of
    models that also see.
    """
    usual = [_with_arguments(message, _mapping) for message in messages]
    yield usual
    if any("tool_calls" in message for message in messages):
        as_text = [_with_arguments(message, _text) for message in messages]
        yield as_text
        yield [*map(_with_content, usual)]
        yield [*map(_with_content, as_text)]
    yield [*map(_in_parts, usual)]


def left_out(messages: Conversation, text: str) -> str | None:
    """Return what of messages a written dialogue lacks, in words: what somebody says, or a call; None for nothing.

    Templates leave thoughts out of the assistant's messages, so of these only calls are looked for. One may spell a
    text in its own way: where the whole is not found, words are looked for.
    """
    for message in messages:
        content, role = message.get("content"), message["role"]
        if role == "assistant":
            if not all(name in text for name in _called(message)):
                return "a tool call"
        elif isinstance(content, str) and content.strip() not in text and not _has_words(content, text):
            return f"a message of role {role!r}"
    return None


def _has_words(content: str, text: str) -> bool:
    return all(word in text for word in re.findall(r"\w+", content))


def _called(message: Message) -> Iterator[str]:
    """Yield the names of the functions that a message calls."""
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function", call) if isinstance(call, Mapping) else {}
        name = function.get("name") if isinstance(function, Mapping) else None
        if isinstance(name, str):
            yield name


def _with_arguments(message: Message, change: Callable[[Any], Any]) -> Message:
    calls = message.get("tool_calls")
    return {**message, "tool_calls": [_of_call(call, change) for call in calls]} if isinstance(calls, list) else message


def _of_call(call: Any, change: Callable[[Any], Any]) -> Any:
    """Change the arguments of a call, which are its own or those of its `function`."""
    if not isinstance(call, Mapping):
        return call
    changed = {name: _of_call(each, change) if name == "function" else each for name, each in call.items()}
    return {**changed, "arguments": change(call["arguments"])} if "arguments" in call else changed


def _mapping(arguments: Any) -> Any:
    try:
        decoded = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        return arguments
    return decoded if isinstance(decoded, dict) else arguments


def _text(arguments: Any) -> Any:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _with_content(message: Message) -> Message:
    return {**message, "content": ""} if "tool_calls" in message and "content" not in message else message


def _in_parts(message: Message) -> Message:
    content = message.get("content")
    return {**message, "content": [{"type": "text", "text": content}]} if isinstance(content, str) else message
