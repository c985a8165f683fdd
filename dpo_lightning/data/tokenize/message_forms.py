"""Forms of the same messages: templates read content as text or as parts, and arguments as mappings or as JSON text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dpo_lightning.data.formats import Conversation, Message

_CALL = "a tool call"
_MARK = "qzmark"  # letters, which every spelling of a text keeps


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
    """Return what of messages a written dialogue lacks, in words: what others than the assistant say; None for nothing.

    A template may spell a text in its own way: where the whole is not found, words are looked for.
    """
    missing = (each for each in messages if each["role"] != "assistant" and not says(text, each.get("content")))
    return next((_message_of(each) for each in missing), None)


def says(text: str, content: Any) -> bool:
    """Return whether a text has another one in it, or all of its words; True where the other is no text."""
    if not isinstance(content, str) or content.strip() in text:
        return True
    return all(word in text for word in re.findall(r"\w+", content))


def marked(messages: Conversation) -> tuple[Conversation, Mapping[str, str]]:
    """Return messages of a dialogue with calls, each text and call that a template must write with a mark of its own.

    The name of a call stands in the definitions of the tools as well, and its result may be a single digit: only a mark
    tells whether they were written.

    Returns:
        The messages, and by its mark what bears it, in words; no mark where nobody calls.
    """
    marks: dict[str, str] = {}

    def mark(text: str, what: str) -> str:
        own = f"{_MARK}{len(marks)}z"
        marks[own] = what
        return text + own

    if not any("tool_calls" in each or each["role"] == "tool" for each in messages):
        return messages, marks
    return [_marked(each, mark) for each in messages], marks


def _marked(message: Message, mark: Callable[[str, str], str]) -> Message:
    content, calls, what = message.get("content"), message.get("tool_calls"), _message_of(message)
    if message["role"] != "assistant" and isinstance(content, str):
        return {**message, "content": mark(content, what)}
    if message["role"] != "assistant" and isinstance(content, list):
        return {**message, "content": [{**part, "text": mark(part["text"], what)} for part in content]}
    if not isinstance(calls, list):
        return message
    return {**message, "tool_calls": [_of_call(each, "name", lambda name: mark(str(name), _CALL)) for each in calls]}


def _message_of(message: Message) -> str:
    return f"a message of role {message['role']!r}"


def _with_arguments(message: Message, change: Callable[[Any], Any]) -> Message:
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return message
    return {**message, "tool_calls": [_of_call(call, "arguments", change) for call in calls]}


def _of_call(call: Any, field: str, change: Callable[[Any], Any]) -> Any:
    """Change a field of a call, which is its own or that of its `function`."""
    if not isinstance(call, Mapping):
        return call
    changed = {name: _of_call(each, field, change) if name == "function" else each for name, each in call.items()}
    return {**changed, field: change(call[field])} if field in call else changed


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
