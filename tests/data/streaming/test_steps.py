"""Steps of several ranks, played in one process."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from dpo_lightning.batch import TokenizedExample
from dpo_lightning.data.streaming.steps import Step, equalised, filled, steps
from dpo_lightning.data.streaming.tokens import Taken


def taken(number: int, size: int = 1) -> Taken:
    return Taken(TokenizedExample.pair(number, [1] * size, [2], [3]), (number, 1))


class Ranks:
    """An exchange between threads."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.told: list[Any] = [None] * count
        self.barrier = threading.Barrier(count)

    def exchange(self, rank: int) -> Callable[[Any], list[Any]]:
        def exchange(told: Any) -> list[Any]:
            self.told[rank] = told
            self.barrier.wait(10)
            found = list(self.told)
            self.barrier.wait(10)
            return found

        return exchange

    def run(self, batches: list[list[list[Taken]]], first: int, accumulate: int) -> list[list[Step]]:
        found: list[list[Step]] = [[] for _ in batches]
        self.left: list[list[Any]] = [[] for _ in batches]

        def play(rank: int) -> None:
            given = iter(batches[rank])
            found[rank] = [*steps(given, self.exchange(rank), rank, first, accumulate, self.left[rank].extend)]

        threads = [threading.Thread(target=play, args=(rank,)) for rank in range(self.count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        return found


def of_sizes(sizes: list[int], start: int = 0) -> list[list[Taken]]:
    numbers = iter(range(start, start + sum(sizes)))
    return [[taken(next(numbers)) for _ in range(size)] for size in sizes]


def numbers(found: list[Step]) -> list[int]:
    return [each.example.row for step in found for each in step.batch]


@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize("sizes", [[[4, 4, 4, 1], [4, 4, 4]], [[3] * 7, [3] * 7], [[2, 1], [4, 4, 4]], [[9], [1]]])
def test_all_ranks_have_as_many_batches_and_know_all_examples(sizes, accumulate):
    found = Ranks(2).run([of_sizes(sizes[0]), of_sizes(sizes[1], 100)], accumulate, accumulate)
    assert len(found[0]) == len(found[1]) > 0
    for rank in found:
        assert all(step.batch for step in rank)
        assert numbers(rank) == sorted(numbers(rank))
    for start in range(0, len(found[0]), accumulate):
        window = [rank[start : start + accumulate] for rank in found]
        examples = sum(len(step.batch) for rank in window for step in rank)
        assert {step.window for rank in window for step in rank} == {examples}
    for at, pair in enumerate(zip(*found, strict=True)):
        assert pair[0].positions == pair[1].positions == [step.batch[-1].position for step in pair]
        if pair[0].rest is not None:
            left = [[len(step.batch) for step in rank[at + 1 :]] for rank in found]
            assert pair[0].rest == pair[1].rest == left


@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_all_rows_are_taken_where_ranks_differ_by_one_row(accumulate):
    for rows in range(2, 40):
        counts = [(rows + 1) // 2, rows // 2]
        batches = [[*filled(map(taken, range(100 * r, 100 * r + n)), 4, lambda _: 1)] for r, n in enumerate(counts)]
        found = Ranks(2).run(batches, accumulate, accumulate)
        assert [len(numbers(rank)) for rank in found] == counts


def test_a_rank_far_behind_ends_the_epoch():
    found = Ranks(2).run([of_sizes([4]), of_sizes([4] * 9)], 1, 1)
    assert [[len(step.batch) for step in rank] for rank in found] == [[2, 2], [4, 4]]
    assert Ranks(2).run([[], of_sizes([4])], 1, 1) == [[], []]


def test_what_a_rank_has_beyond_is_told_to_all_of_them():
    ranks = Ranks(2)
    ranks.run([of_sizes([1]), of_sizes([4] * 9)], 1, 1)
    assert ranks.left == [[(1, 4, False)]] * 2
    ranks.run([of_sizes([1]), of_sizes([4, 3])], 2, 2)
    assert ranks.left == [[(1, 3, True)]] * 2
    ranks.run([of_sizes([4, 4]), of_sizes([4, 3])], 1, 1)
    assert ranks.left == [[], []]


def test_batches_are_halved_until_there_are_enough():
    plans = equalised([[[(n, 1) for n in range(5)], [(9, 1)]], [[(1, 1)]] * 4])
    assert [[len(batch) for batch in plan] for plan in plans] == [[2, 1, 2, 1], [1, 1, 1, 1]]
    assert [each for batch in plans[0] for each in batch] == [*((n, 1) for n in range(5)), (9, 1)]


def test_the_first_window_may_be_the_rest_of_one():
    found = Ranks(1).run([of_sizes([1, 2, 3, 4, 5])], 1, 2)[0]
    assert [step.window for step in found] == [1, 5, 5, 9, 9]


@pytest.mark.parametrize("most", [6, 9, 20])
def test_batches_are_filled_as_far_as_they_go(most):
    chance = random.Random(most)
    given = [taken(n, chance.randint(1, 6)) for n in range(60)]

    def size(each):
        return len(each.example.prompt_ids)

    found = [*filled(given, most, size)]
    assert [each for batch in found for each in batch] == given
    assert all(sum(map(size, batch)) <= most for batch in found)
    assert all(sum(map(size, a)) + size(b[0]) > most for a, b in pairwise(found))
