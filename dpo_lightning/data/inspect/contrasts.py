"""Two completions of which the data says that one is better: the sides of a pair, or two with different labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dpo_lightning.data.inspect.survey import Seen, Split


class Side(NamedTuple):
    """A completion of an example."""

    seen: Seen
    place: int

    @property
    def text(self) -> str:
        """Text of the completion."""
        return self.seen.completions[self.place]

    @property
    def ids(self) -> np.ndarray:
        """Tokens of the completion."""
        return self.seen.completion_ids[self.place]

    @property
    def length(self) -> int:
        """Number of its tokens before truncation."""
        return self.seen.whole[self.place + 1]


MOST = 20_000
"""Comparisons that are looked at: with so many, an accuracy is known to 0.7 %."""


def contrasts(split: Split, seed: int = 0, most: int = MOST) -> list[tuple[Side, Side]]:
    """Return the better and the worse completion of what a split compares, of so many at most, taken at random.

    Of pairs these are the two sides. Of labelled completions a desirable and an undesirable one, put together at
    random, each in one pair at most. Of lists the first and the last one, as formats put the best first.
    """
    rng = np.random.default_rng(seed)
    labelled = [each for each in split.kept if each.label is not None]
    if labelled:
        sides = [[each for each in labelled if each.label is label] for label in (True, False)]
        shuffled = [[each[place] for place in rng.permutation(len(each))[:most]] for each in sides]
        return [(Side(good, 0), Side(bad, 0)) for good, bad in zip(*shuffled, strict=False)]
    several = [each for each in split.kept if len(each.completion_ids) > 1]
    if len(several) > most:
        several = [several[place] for place in np.sort(rng.permutation(len(several))[:most])]
    return [(Side(each, 0), Side(each, len(each.completion_ids) - 1)) for each in several]
