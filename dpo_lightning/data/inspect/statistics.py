"""Small statistics: an interval for a share, and how well one feature tells the better completion."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from dpo_lightning.report.statistics import wilson as interval


class Share(NamedTuple):
    """A share of counted cases, with an interval.

    Attributes:
        value: The share.
        low: Lower end of its interval.
        high: Upper end.
        cases: How many cases there were.
    """

    value: float
    low: float
    high: float
    cases: int


def wilson(hits: float, cases: int, z: float = 1.96) -> Share:
    """Return the share of hits with Wilson's interval (doi:10.1080/01621459.1927.10502953); 95 % with the default z."""
    if not cases:
        return Share(0.5, 0.0, 1.0, 0)
    found = interval(hits / cases, cases, z)
    return Share(found.share, found.low, found.high, cases)


class Told(NamedTuple):
    """How well a feature tells the better of two completions, on pairs that were not used to learn it.

    Attributes:
        accuracy: Share of all held-out pairs that are told right; where the feature says nothing, half counts.
        decided: The share among those of which it says something, with an interval of three standard errors.
        best: The value that stands most for the better side.
        worst: The value that stands most for the other one.
    """

    accuracy: float
    decided: Share
    best: Hashable
    worst: Hashable

    @property
    def is_noise(self) -> bool:
        """True where its successes may be chance."""
        return self.decided.low <= 0.5


def told_by(better: Sequence[Hashable], worse: Sequence[Hashable], seed: int = 0) -> Told:
    """Learn on a random half of pairs which values stand for the better side, and count on the other half.

    A value's weight is log((n_better + 1) / (n_worse + 1)); the completion with the greater weight is taken.

    Args:
        better: The feature's value of each better completion.
        worse: That of the completion that it was compared with.
        seed: Seed of the halves.
    """
    order = np.random.default_rng(seed).permutation(len(better)).tolist()
    learned, counted = order[: len(order) // 2], order[len(order) // 2 :]
    good, bad = Counter(better[each] for each in learned), Counter(worse[each] for each in learned)
    weight = {value: math.log((good[value] + 1) / (bad[value] + 1)) for value in {*good, *bad}}
    gains = [weight.get(better[each], 0.0) - weight.get(worse[each], 0.0) for each in counted]
    right, wrong = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    accuracy = (right + (len(gains) - right - wrong) / 2) / len(gains) if gains else 0.5
    difference = {value: good[value] - bad[value] for value in weight}
    best = max(difference, key=lambda value: difference[value], default=None)
    worst = min(difference, key=lambda value: difference[value], default=None)
    return Told(accuracy, wilson(right, right + wrong, z=3.0), best, worst)
