"""Texts compared by their letters alone."""

from __future__ import annotations

from collections.abc import Sequence


def squeezed(text: str) -> str:
    r"""Return a text without its white space and in lower case.

    Example:
        >>> squeezed("So it IS\n")
        'soitis'
    """
    return "".join(text.split()).lower()


def words_key(prompt: str, completions: Sequence[str], labels: Sequence[bool] | None = None) -> int:
    """Return a number that examples share whose texts differ in white space and capital letters alone.

    Their labels are equal. It has 64 bits, and is another one in each process.
    """
    said = None if labels is None else tuple(map(bool, labels))
    return hash((squeezed(prompt), tuple(map(squeezed, completions)), said))
