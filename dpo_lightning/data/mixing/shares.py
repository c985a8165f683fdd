"""Weights of sources -> exact numbers of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from dpo_lightning.data.mixing.source import Source
from dpo_lightning.errors import InputError


def rows_taken(sources: Sequence[Source], sizes: Sequence[int]) -> list[int]:
    """Return how many rows of each source an epoch has.

    Args:
        sources: The sources.
        sizes: How many rows each has to train on.

    Raises:
        InputError: for a weight so small that the source has no row in an epoch.
    """
    taken = [size if source.rows is None else source.rows for source, size in zip(sources, sizes, strict=True)]
    weighted = [number for number, source in enumerate(sources) if source.weight is not None]
    weights = [Fraction(sources[number].weight or 0) for number in weighted]
    shares = largest_remainder(weights, sum(sizes[number] for number in weighted))
    for number, share in zip(weighted, shares, strict=True):
        if share == 0:
            raise InputError(
                f"data.sources[{number}].weight {sources[number].weight:g}: source {sources[number].name!r} has no "
                "row in an epoch: raise it, or give `rows`"
            )
        taken[number] = share
    return taken


def largest_remainder(weights: Sequence[Fraction], total: int) -> list[int]:
    """Divide a number by weights: each share is its quota rounded down, and the largest remainders get one more.

    Of equal remainders the first one gets it. The method is Hamilton's.
    """
    whole = sum(weights)
    quotas = [weight * total / whole for weight in weights]
    shares = [math.floor(quota) for quota in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda number: shares[number] - quotas[number])
    for number in by_remainder[: total - sum(shares)]:
        shares[number] += 1
    return shares
