"""The works that objectives come from, as their docstrings name them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass

_WORK = re.compile(r"arXiv:\d{4}\.\d{4,5}")


def cited(objective: object) -> list[str]:
    """Return what an objective is called and where it was published, then the same of those inside it.

    Args:
        objective: An objective, or one of your own, whose docstring begins with `Name, arXiv:1234.56789; ...`.

    Returns:
        Texts such as `Direct Preference Optimization, arXiv:2305.18290`; none of a class whose docstring names no work.
    """
    return list(dict.fromkeys(filter(None, map(_first_words, _with_parts(objective)))))


def _with_parts(value: object) -> Iterator[object]:
    """Yield an object of settings, and all that its fields hold."""
    if isinstance(value, list | tuple):
        for each in value:
            yield from _with_parts(each)
    elif is_dataclass(value) and not isinstance(value, type):
        yield value
        for each in fields(value):
            yield from _with_parts(getattr(value, each.name, None))


def _first_words(value: object) -> str | None:
    """Return the first line of a class's docstring up to its semicolon, where that names a work."""
    line = (inspect.getdoc(type(value)) or "").split("\n\n")[0]
    words = " ".join(line.split()).partition(";")[0].rstrip(".")
    return words if _WORK.search(words) else None
