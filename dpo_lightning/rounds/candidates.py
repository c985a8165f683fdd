"""Rows of the files between the steps of a round: a prompt, completions of it, and what they are worth."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dpo_lightning.errors import InputError
from dpo_lightning.rounds.prompts import Prompt
from dpo_lightning.utils.text import one_line

_KEYS = ("prompt", "completions", "scores", "ended", "model")


class Candidates(NamedTuple):
    """A prompt with completions that are to be compared.

    Attributes:
        prompt: A text, or the messages of a conversation.
        completions: Texts.
        scores: What each is worth; None before `score`.
        ended: Whether each ended by itself, and was not cut at the most tokens; None where nobody knows.
        model: Name of the model that wrote them; None where nobody knows.
        beside: Other columns of the row.
    """

    prompt: Prompt
    completions: list[str]
    scores: list[float] | None = None
    ended: list[bool] | None = None
    model: str | None = None
    beside: Mapping[str, Any] = {}

    def row(self) -> dict[str, Any]:
        """Return the row of JSON, without what is not known."""
        known = {name: value for name in _KEYS if (value := getattr(self, name)) is not None}
        return {**known, **self.beside}


def read_candidates(file: Path, place: str) -> list[Candidates]:
    """Read all rows of a file.

    Args:
        file: Rows of JSON with `prompt`, `completions` and, where they are known, `scores`, `ended` and `model`.
        place: Text that names the argument, in an error.

    Raises:
        InputError: for a file that cannot be read or has no row, and a row that is something else, naming its line.
    """
    return [candidates_of(row, line) for line, row in json_rows(file, place)]


def json_rows(file: Path, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the rows of a file of JSON lines, each behind a text that names its line.

    Raises:
        InputError: for a file that cannot be read or has no row, and a line that is no object, naming it.
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{place} {file}: {one_line(error, 200)}") from None
    if not any(line.strip() for line in lines):
        raise InputError(f"{place} {file}: there is no row in it")
    for number, line in enumerate(lines, start=1):
        if line.strip():
            named = f"{place} {file}, line {number}"
            yield named, _object(line, named)


def _object(line: str, place: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"{place}: no JSON: {one_line(error, 200)}") from None
    if not isinstance(row, dict):
        raise InputError(f"{place}: a row is an object, got {one_line(line, 80)}")
    return row


def candidates_of(row: Mapping[str, Any], place: str) -> Candidates:
    """Return a row as candidates.

    Raises:
        InputError: for a key that is missing, or holds something else; `place` names the line.
    """
    prompt, completions = row.get("prompt"), row.get("completions")
    if not is_prompt(prompt):
        raise InputError(f"{place}, prompt: give a text or a list of messages, got {one_line(prompt, 80)}")
    if not (isinstance(completions, list) and completions and all(isinstance(each, str) for each in completions)):
        raise InputError(f"{place}, completions: give a list of texts, got {one_line(completions, 80)}")
    scores, ended = (_of_each(row, name, completions, place) for name in ("scores", "ended"))
    if not isinstance(model := row.get("model"), str | None):
        raise InputError(f"{place}, model: give a name, got {one_line(model, 80)}")
    beside = {name: value for name, value in row.items() if name not in _KEYS}
    return Candidates(prompt, completions, scores, ended, model, beside)  # type: ignore[arg-type]


def is_prompt(value: Any) -> bool:
    """Return whether a value is a prompt: a text that is not empty, or messages with a role each."""
    is_chat = isinstance(value, list) and value and all(isinstance(each, dict) and "role" in each for each in value)
    return bool(is_chat or (isinstance(value, str) and value))


def _of_each(row: Mapping[str, Any], name: str, completions: Sequence[str], place: str) -> list[Any] | None:
    values = row.get(name)
    if values is None:
        return None
    fits = _is_finite if name == "scores" else lambda value: isinstance(value, bool)
    if not (isinstance(values, list) and len(values) == len(completions) and all(map(fits, values))):
        kind = "finite numbers" if name == "scores" else "true or false"
        raise InputError(
            f"{place}, {name}: give {kind}, one for each of {len(completions)} completions, got {values!r}"
        )
    return [float(value) for value in values] if name == "scores" else values


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
