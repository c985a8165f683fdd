"""The parser's messages as one line, with the nearest right key."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Iterable

from dpo_lightning.compat.jsonargparse import (
    CLASS,
    KEY,
    SCAFFOLD,
    UNKNOWN_CLASS,
    UNKNOWN_KEY,
    UNKNOWN_OPTION,
    WRONG_CLASS,
)
from dpo_lightning.utils.text import one_line


def explain(message: str, keys: Iterable[str], classes: Iterable[str]) -> str:
    """Shorten a parser message to the key and what is wrong with it, and suggest what may have been meant.

    Args:
        message: The parser's message, possibly nested over many lines.
        keys: Every key that the command accepts.
        classes: Short names of the classes that a value can name.
    """
    path, class_path, complaint = _innermost(message)
    classes = list(classes)
    place = ".".join(path)
    if match := UNKNOWN_OPTION.search(complaint):
        name = match["name"]
        return f"unknown key `{'.'.join([*path, name])}`{_suggest(name, _arguments(class_path), 'its keys are')}"
    if match := UNKNOWN_KEY.search(complaint):
        return f"unknown key `{match['name']}`{_suggest(match['name'], keys)}"
    if match := UNKNOWN_CLASS.search(complaint) or WRONG_CLASS.search(complaint):
        if match["name"].rpartition(".")[2] in classes:
            return f"{place}: {match['name']} does not fit here"
        return f"{place}: no class {match['name']}{_suggest(match['name'], classes, 'there are')}"
    return f"{place}: {complaint}" if place else complaint


def _innermost(message: str) -> tuple[list[str], str | None, str]:
    """The keys and the class on the way to the first complaint, and the complaint."""
    path: list[str] = []
    class_path = None
    for raw in message.splitlines():
        line = raw.strip().removeprefix("- ")
        if match := KEY.match(line):
            path += match["key"].split(".")
            line = match["rest"]
        if match := CLASS.search(line):
            class_path = match["path"]
        elif line and not SCAFFOLD.match(line):
            return path, class_path, line
    return path, class_path, one_line(message, 1000)


def _arguments(class_path: str | None) -> list[str]:
    module, _, name = (class_path or "").rpartition(".")
    if not module:
        return []
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters.values()
    return [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def _suggest(name: str, candidates: Iterable[str], otherwise: str | None = None) -> str:
    candidates = list(candidates)
    close = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    if close:
        return f"; did you mean `{close[0]}`?"
    return f"; {otherwise} {', '.join(candidates)}" if otherwise and candidates else ""
