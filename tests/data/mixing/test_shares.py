"""Exact numbers of rows out of weights."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import pytest

from dpo_lightning.data.mixing import Source
from dpo_lightning.data.mixing.shares import largest_remainder, rows_taken
from dpo_lightning.errors import InputError


def source(**settings):
    return Source("rows.jsonl", name="named", **settings)


@pytest.mark.parametrize(("weights", "total"), [((1, 2, 3), 7), ((0.1, 0.2, 0.7), 11), ((1, 1, 1), 10), ((5, 3), 1)])
def test_shares_are_the_nearest_whole_numbers_to_the_quotas(weights, total):
    shares = largest_remainder([Fraction(weight) for weight in weights], total)

    def distance(given):
        return sum(abs(share - total * weight / sum(weights)) for share, weight in zip(given, weights, strict=True))

    every = [given for given in product(range(total + 1), repeat=len(weights)) if sum(given) == total]
    assert sum(shares) == total
    assert distance(shares) == pytest.approx(min(map(distance, every)))


def test_weights_divide_the_rows_of_the_sources_that_have_one():
    sources = [source(weight=3), source(rows=50), source(weight=1), source()]

    assert rows_taken(sources, [60, 20, 40, 9]) == [75, 50, 25, 9]


def test_a_weight_that_gives_no_row_is_refused_by_its_key():
    with pytest.raises(InputError, match=r"data\.sources\[1\]\.weight 0\.0001: source 'named' has no row"):
        rows_taken([source(weight=1), source(weight=1e-4)], [10, 10])
