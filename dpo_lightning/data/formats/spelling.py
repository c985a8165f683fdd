"""Messages in other spellings than a chat template's: `from` and `value`, other names of roles, a message by itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dpo_lightning.errors import InputError

CALLS = "calls"
"""Stands in `ROLES` for the assistant's turn whose text is the JSON of its tool calls."""

ROLES: Mapping[str, str] = {
    **{role: role for role in ("system", "developer", "user", "assistant", "tool")},
    **dict.fromkeys(("human", "prompter", "input"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "bot", "chatbot", "model", "ai", "output"), "assistant"),
    **dict.fromkeys(("function", "ipython", "observation", "tool_response", "function_response"), "tool"),
    **dict.fromkeys(("function_call", "tool_call"), CALLS),
}
"""Roles of ShareGPT's kin and the chat template's name of each, in small letters."""


_ROLE = ("role", "from")
_CONTENT = ("content", "value", "text")


def respelled(value: Any, place: str, roles: Mapping[str, str] | None = None) -> Any:
    """Return messages as a chat template reads them, a lone one as a list; what else there is stays.

    So does a second name of the role or of the content, such as `text` beside `content`, unless it is null.

    Args:
        value: A text, a message, a list of messages, or anything else of a row.
        place: The field as messages of errors name it.
        roles: Names of roles beside those of `ROLES`.

    Raises:
        InputError: naming the place, for a role that is not known, and for calls that are no JSON.

    Example:
        >>> respelled({"from": "gpt", "value": "Hello!"}, "field `chosen`")
        [{'role': 'assistant', 'content': 'Hello!'}]
    """
    if isinstance(value, Mapping):
        return [_message(value, place, roles or {})]
    if not isinstance(value, list):
        return value
    return [_message(each, f"{place}, message {number}", roles or {}) for number, each in enumerate(value)]


def role_of(message: Any) -> str | None:
    """Return the role of a message in any spelling, as a chat template names it where it is one of `ROLES`."""
    if not isinstance(message, Mapping):
        return None
    _, role = _either(message, _ROLE)
    return ROLES.get(role.strip().casefold(), role) if isinstance(role, str) else None


def _message(message: Any, place: str, roles: Mapping[str, str]) -> Any:
    if not isinstance(message, Mapping):
        return message
    (role_name, role), (content_name, content) = _either(message, _ROLE), _either(message, _CONTENT)
    left = {name: each for name, each in message.items() if name not in (role_name, content_name)}
    others = {name: each for name, each in left.items() if each is not None or name not in (*_ROLE, *_CONTENT)}
    if role is None or (content is None and not others):
        return message
    role = _role(role, place, roles)
    if role == CALLS:
        return {**others, "role": "assistant", "content": "", "tool_calls": _calls(content, place)}
    return {**others, "role": role, **({} if content is None else {"content": content})}


def _either(message: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str | None, Any]:
    return next(((name, message[name]) for name in names if message.get(name) is not None), (None, None))


def _role(role: Any, place: str, roles: Mapping[str, str]) -> str:
    known = {**ROLES, **roles}
    found = known.get(role, known.get(role.strip().casefold())) if isinstance(role, str) else None
    if found is None:
        raise InputError(
            f"{place}: role {role!r:.40} is none of {', '.join(known)}: say in format.roles which of system, user, "
            "assistant and tool it is"
        )
    return found


def _calls(content: Any, place: str) -> list[Any]:
    try:
        calls = json.loads(content) if isinstance(content, str) else content
    except ValueError:
        calls = None
    calls = [calls] if isinstance(calls, Mapping) else calls
    if not isinstance(calls, list) or not calls or not all(isinstance(call, Mapping) for call in calls):
        raise InputError(
            f"{place}: the text of its calls is no JSON of a call, with `name` and `arguments`; if it is plain text, "
            "name the role in format.roles as assistant"
        )
    return [call if "function" in call else {"type": "function", "function": call} for call in calls]
