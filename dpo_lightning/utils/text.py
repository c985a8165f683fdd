"""Text for messages of one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def one_line(text: object, most: int = 300) -> str:
    """Fold white space and keep the first characters, for an error inside another one's message.

    Args:
        text: An error, or a text. An error without words is named by its class.
        most: Characters that are kept.
    """
    folded = " ".join(str(text).split())[:most]
    return folded or (type(text).__name__ if isinstance(text, BaseException) else "")


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that a mistyped name is most like, whatever its case; None where none is like it."""
    folded = {each.lower(): each for each in reversed([*candidates])}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None
