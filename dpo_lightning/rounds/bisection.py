"""Bisection of a completion where its chance of success changes, after the pivotal token search of Phi-4."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Segment(NamedTuple):
    """Tokens of a completion, with the chance of success before and after them.

    Attributes:
        start: Number of its first token.
        end: Number of the token behind its last.
        before: Chance of success once all tokens before it are written, from 0 to 1.
        after: The same once its own are, too.
    """

    start: int
    end: int
    before: float
    after: float

    @property
    def change(self) -> float:
        """Difference that its tokens make to the chance of success; negative where they lower it."""
        return self.after - self.before


def bisected(length: int, chance: Callable[[int], float], gap: float) -> list[Segment]:
    """Return a completion in segments: single tokens, and longer ones at whose ends the chance is nearly the same.

    A segment is halved as long as its ends differ by the gap (arXiv:2412.08905, section 4.3): in the middle of its
    tokens, where the paper takes the middle of their cumulative log-probability. Chances inside a segment whose ends
    are alike are never asked for: a token that raises them and one that takes it back there stay unseen.

    Args:
        length: Tokens of the completion.
        chance: The chance of success after so many of its tokens.
        gap: Change of the chance for which a segment is halved.

    Returns:
        All segments, in order. Those of one token whose change is at least the gap are pivotal.
    """
    found: list[Segment] = []
    left = [(0, length)] if length else []
    while left:
        start, end = left.pop()
        segment = Segment(start, end, chance(start), chance(end))
        if end - start == 1 or abs(segment.change) < gap:
            found.append(segment)
        else:
            middle = (start + end) // 2
            left += [(middle, end), (start, middle)]
    return found


def is_pivotal(segment: Segment, gap: float) -> bool:
    """Return whether a segment is one token that changes the chance by the gap."""
    return segment.end - segment.start == 1 and abs(segment.change) >= gap
