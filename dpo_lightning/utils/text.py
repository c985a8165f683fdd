"""Text for messages of one line."""

from __future__ import annotations

import difflib
import html
import re
from collections.abc import Iterable

from dpo_lightning.errors import visible
from dpo_lightning.utils.secrets import masked_text

_MARKDOWN = re.compile(r"[\\`*_\[\]#|~$]")
_LINK = re.compile(r"(?<=[a-z])://|(?<=www)\.|@", re.IGNORECASE)


__all__ = ["nearest", "one_line", "shared_start", "shown", "visible", "visible_markdown"]


def shown(text: object) -> str:
    """Return a message as it may reach a terminal: secrets masked, what cannot be seen spelled out."""
    return visible(masked_text(str(text)))


def visible_markdown(text: object) -> str:
    """Return a text of somebody else's as one line of Markdown that shows it: no markup, HTML or link in it."""
    folded = " ".join(visible(text).split())
    escaped = html.escape(_MARKDOWN.sub(r"\\\g<0>", folded), quote=False)
    return _LINK.sub(lambda found: "".join(f"&#{ord(each)};" for each in found[0]), escaped)


def one_line(text: object, most: int = 300) -> str:
    """Fold white space and keep the first characters, for an error inside another one's message.

    Secrets are masked, and what cannot be seen is spelled out.

    Args:
        text: An error, or a text. An error without words is named by its class.
        most: Characters that are kept.
    """
    folded = " ".join(shown(text).split())[:most]
    return folded or (type(text).__name__ if isinstance(text, BaseException) else "")


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that a mistyped name is most like, whatever its case; None where none is like it.

    A typing error is seldom in the first letter: with another one, a candidate must be more alike.
    """
    folded = {each.lower(): each for each in reversed([*candidates])}
    near = difflib.get_close_matches(name.lower(), folded, n=max(len(folded), 1), cutoff=0.6)
    nearer = difflib.get_close_matches(name.lower(), near, n=max(len(near), 1), cutoff=0.7)
    likely = [each for each in near if each in nearer or each[:1] == name[:1].lower()]
    return folded[likely[0]] if likely else None


def shared_start(first: str, second: str) -> str:
    """Return what two texts both begin with: by halving, as a comparison of slices costs next to nothing."""
    same, most = 0, min(len(first), len(second))
    while same < most:
        middle = (same + most + 1) // 2
        same, most = (middle, most) if first[same:middle] == second[same:middle] else (same, middle - 1)
    return first[:same]
