"""The shuffle with a buffer."""

from __future__ import annotations

import statistics

import pytest

from dpo_lightning.data.streaming.shuffling import shuffled


@pytest.mark.parametrize("size", [1, 2, 7, 100, 500])
def test_every_row_comes_once_and_none_before_it_was_read(size):
    read = []

    def rows():
        for row in range(100):
            read.append(row)
            yield row

    found, behind = [], []
    for row in shuffled(rows(), size, "0 1"):
        found.append(row)
        behind.append(len(read) - len(found))
    assert sorted(found) == [*range(100)]
    assert max(behind) <= size
    assert (found == [*range(100)]) is (size == 1)


def test_the_order_follows_from_the_seed():
    assert [*shuffled(range(50), 9, "3 1")] == [*shuffled(range(50), 9, "3 1")] != [*shuffled(range(50), 9, "3 2")]


def test_a_buffer_of_all_rows_is_an_even_shuffle():
    first = [next(shuffled(range(11), 20, f"{seed} 0")) for seed in range(900)]
    assert statistics.mean(first) == pytest.approx(5, abs=0.4)
    assert {*first} == {*range(11)}
