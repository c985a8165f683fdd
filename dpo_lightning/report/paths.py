"""Paths of a run as another reader may see them: relative to where it was started, without a user's name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

_NO_PART = r"(?<![\w.~/\\-])"  # before a path: nothing that goes on with one
_ENDS = r"(?![\w.-])"
_HOMES = re.compile(rf"{_NO_PART}(?:/home/|/Users/|[A-Za-z]:\\Users\\)[^/\\\s'\":,;]+")
_VARIABLES = re.compile(r"((?:^|(?<=[=:,\[]))~(?=/)|\$USER\b)")


def portable(value: Any, started_in: str | None, home: str | None) -> Any:
    """Return a value with the paths in its texts as a page may show them.

    What lies where the run was started is relative to there, what lies in its user's home begins with `~`, and a user's
    name as a part of another path is `$USER`.

    Args:
        value: What a JSON document or a config may hold.
        started_in: The working directory of the run; None where nobody knows.
        home: Its user's home; None where nobody knows.
    """
    if isinstance(value, Mapping):
        return {key: portable(item, started_in, home) for key, item in value.items()}
    if isinstance(value, list):
        return [portable(item, started_in, home) for item in value]
    if not isinstance(value, str) or not ("/" in value or "\\" in value):
        return value
    if started_in and _is_somewhere(started_in):
        here = _NO_PART + re.escape(started_in)
        value = re.sub(rf"{here}{_ENDS}(?![/\\])", ".", re.sub(rf"{here}[/\\](?=[^\s'\"])", "", value))
    if home and _is_somewhere(home):
        value = re.sub(_NO_PART + re.escape(home) + _ENDS, "~", value)
        name = PurePath(home).name
        if name != "root" and "://" not in value:
            value = re.sub(rf"(?<=[/\\]){re.escape(name)}{_ENDS}", "$USER", value)
    return _HOMES.sub("~", value)


def typed(word: object) -> str:
    """Return a word of a command as a shell takes it: quoted where need be, but for what `portable` put in it."""
    written = {"~": '"$HOME"', "$USER": '"$USER"'}
    parts = [written.get(each, each and shlex.quote(each)) for each in _VARIABLES.split(str(word))]
    return "".join(parts) or "''"


def _is_somewhere(path: str) -> bool:
    """Return whether a path is below the root."""
    return len(PurePath(path).parts) > 1
