"""Rows of several streams in exact proportions."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from itertools import count, islice

import pytest

from dpo_lightning.data.streaming.interleaving import interleaved


def named(name: str, size: int | None = None):
    """Begins rows that say their source and number."""
    return lambda: ((name, n) for n in (count() if size is None else range(size)))


@pytest.mark.parametrize("weights", [(1, 1), (3, 1), (0.7, 0.2, 0.1), (5, 1, 1, 1), (1, 1000), (1 / 3, 0.25)])
def test_any_first_rows_have_their_shares(weights):
    names = "abcd"[: len(weights)]
    rows = [name for name, _ in islice(interleaved([*map(named, names)], weights), 3000)]
    found: Counter[str] = Counter()
    for n, name in enumerate(rows, 1):
        found[name] += 1
        quotas = {each: n * weight / sum(weights) for each, weight in zip(names, weights, strict=True)}
        assert all(math.floor(q - 1e-9) <= found[each] <= math.ceil(q + 1e-9) for each, q in quotas.items())


def test_each_source_keeps_its_order_and_is_read_to_its_end():
    told: list[int] = []
    rows = [*interleaved([named("a", 3), named("b", 7)], [1, 1], told.append)]
    assert [n for name, n in rows if name == "b"] == [*range(7)]
    assert [n for name, n in rows if name == "a"] == [0, 1, 2, 0, 1, 2, 0]
    assert told == [0, 0]
    assert [*interleaved([named("a", 5)], [0.3])] == [("a", n) for n in range(5)]
    assert Counter(name for name, _ in interleaved([named("a", 6), named("b", 2)], [3, 1])) == {"a": 6, "b": 2}


def test_a_source_is_not_begun_again_unless_its_turn_comes():
    begun: Counter[str] = Counter()

    def begin(name, size):
        begun[name] += 1
        return iter(range(size))

    assert len([*interleaved([partial(begin, "a", 4), partial(begin, "b", 4)], [1, 1])]) == 8
    assert begun == {"a": 1, "b": 1}
