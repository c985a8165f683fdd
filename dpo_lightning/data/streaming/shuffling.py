"""A shuffle that holds a few rows at a time."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def shuffled(rows: Iterable[T], size: int, seed: str) -> Iterator[T]:
    """Yield rows in a random order: each new one takes the place of one of those held, which is given out.

    Args:
        rows: The rows.
        size: How many are held; 1 keeps the order.
        seed: Seed of the order.
    """
    rest = iter(rows)
    held = list(islice(rest, size))
    chance = random.Random(seed)
    for row in rest:
        slot = chance.randrange(size)
        yield held[slot]
        held[slot] = row
    if size > 1:
        chance.shuffle(held)
    yield from held
