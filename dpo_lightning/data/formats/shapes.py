"""Shapes of rows: which columns a format needs, and of which kind their values are."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from dpo_lightning.data.column_paths import value as value_at
from dpo_lightning.data.columns import number_in
from dpo_lightning.data.formats.spelling import ROLES, role_of
from dpo_lightning.data.formats.verdict import as_word

Row = Mapping[str, Any]


class Kind(NamedTuple):
    """A kind of values.

    Attributes:
        words: What it is, in words.
        holds: Whether a value is of it.
    """

    words: str
    holds: Callable[[Any], bool]

    def __or__(self, other: Kind) -> Kind:
        return Kind(f"{self.words} or {other.words}", lambda value: self.holds(value) or other.holds(value))


def _are_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(role_of(each) is not None for each in value)


def _are_plain(value: Any) -> bool:
    """Return whether messages have the keys and the roles of a chat template."""
    return _are_messages(value) and all(each.get("role") in _PLAIN_ROLES and _is_said(each) for each in value)


def _is_said(message: Mapping[str, Any]) -> bool:
    return message.get("content") is not None or "text" not in message


def _answers(value: Any) -> bool:
    return role_of(value) in _ANSWERS or (_are_messages(value) and role_of(value[0]) in _ANSWERS)


_PLAIN_ROLES = {"system", "developer", "user", "assistant", "tool"}
_ANSWERS = {"assistant", ROLES["function_call"]}

TEXT = Kind("text", lambda value: isinstance(value, str))
NUMBER = Kind(
    "a number", lambda value: not isinstance(number_in(value), bool) and isinstance(number_in(value), int | float)
)
LABEL = Kind("a label", lambda value: isinstance(value, bool | int | float | str))
PLAIN = Kind("a list of messages", _are_plain)
MESSAGES = Kind("a list of messages in any spelling", _are_messages)
DIALOGUE = Kind("a dialogue", lambda value: _are_messages(value) and not _answers(value))
RESPELLED = Kind("a dialogue in ShareGPT's spelling", lambda value: DIALOGUE.holds(value) and not _are_plain(value))
PLAIN_ANSWER = Kind("a list of messages that answer", lambda value: _are_plain(value) and _answers(value))
ANSWERED = Kind("a dialogue that ends with an answer", lambda value: DIALOGUE.holds(value) and _answers(value[-1]))
ANSWER = Kind("a message that answers", _answers)
TEXTS = Kind("a list of texts", lambda value: _is_list(value) and isinstance(value[0], str))
LISTS = Kind("a list of answers as messages", lambda value: _is_list(value) and all(map(ANSWER.holds, value)))
NUMBERS = Kind("a list of numbers", lambda value: _is_list(value) and all(map(NUMBER.holds, value)))


def items(**fields: Kind) -> Kind:
    """Return the kind of a list of mappings with these fields."""
    words = " and ".join(f"`{name}`" for name in fields)

    def holds(value: Any) -> bool:
        if not _is_list(value) or not isinstance(value[0], Mapping):
            return False
        return all(kind.holds(value_at(value[0], name.replace("__", "."))) for name, kind in fields.items())

    return Kind(f"a list of completions with {words}", holds)


def word_of(words: Collection[str]) -> Kind:
    """Return the kind of texts and whole numbers that are one of these words, see `as_word`."""
    return Kind(
        f"one of {', '.join(sorted(words)[:4])}, ... (for others give ComparedFormat with verdicts)",
        lambda value: isinstance(value, str | int | float) and as_word(value) in words,
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def first_value(rows: Sequence[Row], path: str) -> Any:
    """Return the first value of a column, or of a path, that is not null or an empty list; None where there is none."""
    return next((value for row in rows if (value := value_at(row, path)) is not None and value != []), None)


def json_columns(rows: Sequence[Row]) -> list[str]:
    """Return the columns of text that hold the JSON of messages, or of a list of mappings."""
    return [name for name in (rows[0] if rows else ()) if _is_json(first_value(rows, name))]


def spells_messages(value: Any) -> bool:
    """Return whether a value is a text that holds the JSON of messages."""
    return _of_messages(_json(value))


def _is_json(value: Any) -> bool:
    read = _json(value)
    return _of_messages(read) or (_is_list(read) and all(isinstance(each, Mapping) for each in read))


def _of_messages(read: Any) -> bool:
    within = read.get("messages") if isinstance(read, Mapping) else read
    return role_of(read) is not None or _are_messages(within)


def _json(value: Any) -> Any:
    """Return what a text holds as JSON where that is a mapping, or a list of such; None otherwise."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[{", "{", "[ {", "[\n")):
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None
