"""Texts that spell messages: rows whose lists were written as text, and are not trained on as it stands."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

from dpo_lightning.data.formats.shapes import ANSWER, ANSWERED
from dpo_lightning.errors import InputError

_MESSAGES = re.compile(r"""\s*(?:\[\s*)?\{\s*(["'])(role|from|content|value)\1\s*:""")
_PYTHON = re.compile(r"\s*\[\s*\{\s*'((content|value)'\s*:.*')?(role|from)'\s*:", re.DOTALL)
_TURNS = re.compile(r'\s*\[\s*".*"\s*\]\s*', re.DOTALL)


def check_not_spelled(prompt: str | None, completions: dict[str, str]) -> None:
    """Refuse completions that are all messages, or with their prompt all lists of turns, written as text.

    Args:
        prompt: The prompt, where there is one.
        completions: The completions by their fields.

    Raises:
        InputError: naming the first field.
    """
    name = next(iter(completions))
    if all(map(_spells_messages, completions.values())):
        raise spelled_messages([*completions])
    if prompt is not None and all(map(_spells_turns, (prompt, *completions.values()))):
        raise InputError(
            f"field `{name}`: this text and its prompt are JSON lists of turns: write the turns as messages, with "
            "`role` and `content`"
        )


def spelled_messages(names: Sequence[str]) -> InputError:
    """Return the refusal of texts in these fields that spell messages."""
    return InputError(
        f"field `{names[0]}`: the text spells messages: write them as a list, or as JSON and take a format that is "
        f"told so, such as ShareGPTFormat with json_columns: [{', '.join(names)}]"
    )


def _spells_messages(text: str) -> bool:
    if not _MESSAGES.match(text):
        return False
    return bool(_PYTHON.match(text)) or ANSWER.holds(read := _read(text)) or ANSWERED.holds(read)


def _spells_turns(text: str) -> bool:
    if not _TURNS.fullmatch(text):
        return False
    read = _read(text)
    return isinstance(read, list) and all(isinstance(each, str) for each in read)


def _read(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None
