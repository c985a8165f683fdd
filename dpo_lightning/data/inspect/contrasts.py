"""Two completions of which the data says that one is better: the sides of a pair, or two with different labels."""

from __future__ import annotations

from operator import attrgetter
from typing import NamedTuple

import numpy as np

from dpo_lightning.data.inspect.survey import Seen, Split


class Side(NamedTuple):
    """A completion of an example."""

    seen: Seen
    place: int

    @property
    def facts(self) -> int:
        """Sum of the facts of its text."""
        return self.seen.said.completions[self.place]

    @property
    def ids(self) -> np.ndarray:
        """Tokens of the completion."""
        return self.seen.completion_ids[self.place]

    @property
    def length(self) -> int:
        """Number of its tokens before truncation."""
        return self.seen.whole[self.place + 1]


_PREFERRED, _OTHERS = attrgetter("preferred"), attrgetter("others")

MOST = 20_000
"""Comparisons that are looked at: with so many, an accuracy is known to 0.7 %."""


def contrasts(split: Split, seed: int = 0, most: int = MOST) -> list[tuple[Side, Side]]:
    """Return the better and the worse completion of what a split compares, of so many at most, taken at random.

    Of pairs these are the two sides. Of lists the first and the last one, as formats put the best first. Of labelled
    completions a desirable and an undesirable one of the same prompt; the others are put together at random, each in
    one pair at most.
    """
    rng = np.random.default_rng(seed)
    several = [(each, sides) for each in split.kept if (sides := each.sides) is not None]
    if len(several) > most:
        several = [several[place] for place in np.sort(rng.permutation(len(several))[:most])]
    own = [(Side(each, best), Side(each, worst)) for each, (best, worst) in several]
    alone = [each for each in split.kept if each.labels is not None and each.sides is None]
    labelled = [[Side(each, number) for each in alone for number in numbers(each)] for numbers in (_PREFERRED, _OTHERS)]
    shuffled = [[each[place] for place in rng.permutation(len(each))[: most - len(own)]] for each in labelled]
    return [*own, *zip(*shuffled, strict=False)]
