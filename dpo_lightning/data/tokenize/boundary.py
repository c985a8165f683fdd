"""End of a prompt: what it has in common with all of its answered dialogues."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from itertools import compress, count
from operator import ne
from typing import Any


class Boundary(IntEnum):
    """Kind of the place where the completions of an example begin."""

    CLEAN = 0
    MERGED = 1
    """A token of the whole text crosses the end of the prompt: the completion was tokenised apart."""
    SHARED = 2
    """The template begins an answer otherwise than it writes one: the prompt is what both have in common."""


def shared_length(sequences: Sequence[Sequence[Any]]) -> int:
    """Return how many items all sequences begin with in common.

    Example:
        >>> shared_length([[1, 2, 3], [1, 2], [1, 2, 4]])
        2
    """
    first, *others = sequences
    return min((_parting(first, each) for each in others), default=len(first))


def _parting(first: Sequence[Any], other: Sequence[Any]) -> int:
    # A loop in Python takes seven times as long, for each token of a row and each character of a dialogue.
    return next(compress(count(), map(ne, first, other)), min(len(first), len(other)))


REMEDIES: tuple[Mapping[str, Any], ...] = tuple(
    {name: value} for name in ("enable_thinking", "thinking") for value in (False, True)
)
"""Arguments of chat templates that decide whether an answer begins with a block of thoughts."""


def remedy(boundary_with: Callable[[Mapping[str, Any]], Boundary]) -> Mapping[str, Any] | None:
    """Return the argument with which a template writes the start of an answer as it writes an answer.

    Args:
        boundary_with: The boundary of an example with further arguments of the template; may raise what it likes.
    """
    return next((each for each in REMEDIES if _is_clean(boundary_with, each)), None)


def _is_clean(boundary_with: Callable[[Mapping[str, Any]], Boundary], arguments: Mapping[str, Any]) -> bool:
    try:
        return boundary_with(arguments) is Boundary.CLEAN
    except Exception:  # a template is a program, and raises whatever it likes
        return False


def boundary_report(kinds: Iterable[int], found: Mapping[str, Any] | None) -> list[str]:
    """Say how many examples begin their completions elsewhere than at the end of a clean prompt, and what to set.

    Args:
        kinds: The boundary of each example.
        found: What `remedy` has found for one of them.

    Returns:
        A part of a sentence for each kind that there is.
    """
    counts = dict.fromkeys(Boundary, 0)
    for each in kinds:
        counts[Boundary(each)] += 1
    set_it = "".join(
        f": set data.chat_template_kwargs.{name}={str(value).lower()}" for name, value in (found or {}).items()
    )
    said = {
        Boundary.MERGED: f"with a token across the end of the prompt, whose completions are tokenised apart{set_it}",
        Boundary.SHARED: "whose answers the template begins otherwise than the prompt that it writes for them, so that "
        f"the prompt ends before{set_it or ', and no argument of the template is known to mend it'}",
    }
    return [f"{counts[kind]} {words}" for kind, words in said.items() if counts[kind]]
