"""Numbers of a report: shares with their intervals, bins, groups of equal size."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

_Z = 1.959964  # of the standard normal distribution, 95 % between the two


class Interval(NamedTuple):
    """A share of something counted, with its interval.

    Attributes:
        share: The share.
        of: Number of the cases that it is a share of.
        low: Lower end of the interval.
        high: Upper end.
    """

    share: float
    of: int
    low: float
    high: float

    @property
    def said(self) -> str:
        """The share in words, such as `94.3 % (91.1–96.4)`."""
        return f"{100 * self.share:.1f} % ({100 * self.low:.1f}–{100 * self.high:.1f})"


def wilson(share: float, of: int, z: float = _Z) -> Interval:
    """Return a share with Wilson's interval, which holds for few and for extreme counts (JASA 22, 1927, p. 209).

    Args:
        share: The share, from 0 to 1.
        of: Number of the cases that it is a share of, at least 1.
        z: Half the width in standard errors; 95 % by default.
    """
    square = z * z
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = z / (1 + square / of) * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    return Interval(share, of, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


def share_above(margins: Sequence[float]) -> Interval:
    """Return the share of margins above 0 with its interval; one of 0 counts half, as in `rewards/accuracies`."""
    return wilson(statistics.fmean((margin > 0) + (margin == 0) / 2 for margin in margins), len(margins))


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Return a range for a histogram: all values, unless a few lie many times further out than the others."""
    if not values:
        return 0.0, 1.0
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    first, last = ordered[len(ordered) // 100], ordered[-1 - len(ordered) // 100]
    if last > first and high - low > 3 * (last - first):
        room = (last - first) / 2
        low, high = max(low, first - room), min(high, last + room)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        half = abs(low) * 0.1 or 0.5
        low, high = low - half, high + half
    return low, high


def bins_of(values: Sequence[float], low: float, high: float, count: int) -> list[float]:
    """Return the share of values in each of so many equal bins; the outer ones take what lies beyond."""
    counts = [0] * count
    for value in values:
        counts[min(max(int((value - low) / (high - low) * count), 0), count - 1)] += 1
    return [each / max(1, len(values)) for each in counts]


def quantile_groups(values: Sequence[float], count: int) -> list[list[int]]:
    """Return the places of values in groups of about equal size, from the least on; equal values stay together."""
    edges = sorted(values)
    bounds = sorted({edges[len(edges) * part // count] for part in range(1, count)} - {edges[0]}) if edges else []
    groups: list[list[int]] = [[] for _ in range(len(bounds) + 1)]
    for place, value in enumerate(values):
        groups[sum(value >= bound for bound in bounds)].append(place)
    return [group for group in groups if group]


def correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Return Pearson's correlation; None where one side does not vary."""
    first, second = [x for x, _ in pairs], [y for _, y in pairs]
    try:
        return statistics.correlation(first, second)
    except statistics.StatisticsError:
        return None


def probability(margin: float) -> float:
    """Return the probability that the chosen completion is preferred: the sigmoid of the reward margin."""
    return 1 / (1 + math.exp(-margin)) if margin > -700 else 0.0


def calibrated(margins: Sequence[float], count: int = 8) -> list[tuple[float, Interval]]:
    """Return how often the completion of the greater reward was the chosen one, by how sure the rewards were.

    Args:
        margins: Reward margin of each pair, none of them 0.
        count: Bins of about equal size.

    Returns:
        Of each bin the mean predicted probability, from 0.5 to 1, and the share that was observed.
    """
    sure = [probability(abs(margin)) for margin in margins]
    return [
        (statistics.fmean(sure[place] for place in group), share_above([margins[place] for place in group]))
        for group in quantile_groups(sure, count)
    ]


def calibration_error(points: Sequence[tuple[float, Interval]]) -> float:
    """Return the expected calibration error: the mean distance of observed from predicted shares, over pairs."""
    total = sum(seen.of for _, seen in points)
    return sum(seen.of * abs(seen.share - predicted) for predicted, seen in points) / total
