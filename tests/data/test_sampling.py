"""Which pairs make up which batch, over ranks, epochs and restarts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest

from dpo_lightning.data import LazyLoader, PairBatchSampler
from dpo_lightning.errors import InputError

LENGTHS = np.random.default_rng(0).integers(10, 400, size=1000).tolist()


def samplers(pairs: int, batch_size: int, world_size: int, **settings) -> list[PairBatchSampler]:
    """One for each rank."""
    settings = {"shuffle": True, "length_grouped": True, **settings}
    return [
        PairBatchSampler(LENGTHS[:pairs], batch_size, rank=rank, world_size=world_size, **settings)
        for rank in range(world_size)
    ]


def epoch(sampler: PairBatchSampler, number: int = 0) -> list[list[int]]:
    sampler.set_epoch(number)
    return list(sampler)


CASES = [
    (pairs, batch_size, world_size)
    for pairs, batch_size, world_size in itertools.product(
        (1, 2, 3, 7, 8, 9, 16, 17, 31, 100, 257), (1, 2, 3, 8, 64), (1, 2, 3, 4, 8)
    )
    if pairs >= world_size
]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_each_pair_once_an_epoch_in_equally_many_batches_on_every_rank(shuffle, grouped):
    for pairs, batch_size, world_size in CASES:
        ranks = [
            epoch(sampler)
            for sampler in samplers(pairs, batch_size, world_size, shuffle=shuffle, length_grouped=grouped)
        ]
        case = f"{pairs} pairs, batches of {batch_size}, {world_size} ranks"
        assert sorted(i for batches in ranks for batch in batches for i in batch) == list(range(pairs)), case
        assert {len(batches) for batches in ranks} == {len(samplers(pairs, batch_size, world_size)[0])}, case
        sizes = [len(batch) for batches in ranks for batch in batches]
        assert min(sizes) >= 1, case
        assert max(sizes) - min(sizes) <= 1, case


def test_batches_are_as_few_as_the_batch_size_allows():
    for pairs, batch_size, world_size in CASES:
        ranks = samplers(pairs, batch_size, world_size)
        largest = max(len(batch) for sampler in ranks for batch in epoch(sampler))
        indivisible = batch_size == 1 and pairs % world_size
        assert largest <= (2 if indivisible else batch_size), (pairs, batch_size, world_size)
        if not indivisible:
            assert len(ranks[0]) == math.ceil(pairs / (batch_size * world_size))


def test_the_order_is_a_function_of_seed_and_epoch():
    first, again = (samplers(100, 8, 1, seed=3)[0] for _ in range(2))
    assert [epoch(first, n) for n in (0, 1, 0)] == [epoch(again, n) for n in (0, 1, 0)]
    assert epoch(first, 0) != epoch(first, 1)
    assert epoch(first, 0) != epoch(samplers(100, 8, 1, seed=4)[0], 0)
    # Not only the batches' order: who is together changes too.
    together = [{frozenset(batch) for batch in epoch(first, number)} for number in (0, 1)]
    assert len(together[0] & together[1]) < 3


def test_the_order_does_not_come_from_a_global_generator():
    np.random.seed(0)
    first = epoch(samplers(100, 8, 1)[0])
    np.random.seed(1)
    assert epoch(samplers(100, 8, 1)[0]) == first


def test_ranks_share_the_order():
    alone = epoch(samplers(96, 8, 1)[0])
    together = [epoch(sampler) for sampler in samplers(96, 4, 2)]
    steps = [sorted(left + right) for left, right in zip(*together, strict=True)]
    assert steps == [sorted(batch) for batch in alone]


def test_without_shuffling_the_order_is_the_datas():
    for number in (0, 5):
        batches = epoch(samplers(10, 4, 1, shuffle=False)[0], number)
        assert batches == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]


def _cells(batches: list[list[int]]) -> int:
    """Tokens and padding of the batches."""
    return sum(len(batch) * max(LENGTHS[i] for i in batch) for batch in batches)


def test_grouping_by_length_saves_most_of_the_padding():
    tokens = sum(LENGTHS)
    padding = {
        grouped: _cells(epoch(samplers(1000, 8, 1, length_grouped=grouped)[0])) - tokens for grouped in (False, True)
    }
    assert padding[True] < 0.1 * padding[False], padding


def test_grouping_spreads_similar_lengths_over_the_ranks():
    ranks = [epoch(sampler) for sampler in samplers(1000, 8, 4)]
    for batches in zip(*ranks, strict=True):
        longest = [max(LENGTHS[i] for i in batch) for batch in batches]
        assert max(longest) - min(longest) < 30


def test_grouped_steps_do_not_come_sorted_by_length():
    longest = [max(LENGTHS[i] for i in batch) for batch in epoch(samplers(1000, 8, 1)[0])]
    assert abs(np.corrcoef(longest, range(len(longest)))[0, 1]) < 0.3


@pytest.mark.parametrize("start", [0, 1, 5, 12, 13])
def test_start_skips_exactly_that_many_batches(start):
    sampler = samplers(100, 8, 1)[0]
    whole = epoch(sampler, 2)
    assert len(whole) == len(sampler) == 13
    sampler.start = start
    assert list(sampler) == whole[start:]
    assert len(sampler) == 13


def test_fewer_pairs_than_ranks_are_refused():
    with pytest.raises(InputError, match="3 pairs cannot be spread over 4 ranks"):
        PairBatchSampler([1, 2, 3], 1, shuffle=False, world_size=4)


def test_a_batch_size_below_one_is_refused():
    with pytest.raises(InputError, match="batch_size must be at least 1, got 0"):
        PairBatchSampler([1, 2, 3], 0, shuffle=False)


# LazyLoader


class Watched:
    """An iterable that says when it is asked."""

    def __init__(self, sampler: PairBatchSampler) -> None:
        self.sampler = sampler
        self.asked = 0

    def __iter__(self) -> Iterator[list[int]]:
        self.asked += 1
        return iter(self.sampler)


def test_nothing_happens_before_the_first_next():
    sampler = samplers(100, 8, 1)[0]
    watched = Watched(sampler)
    batches = iter(LazyLoader(watched, sampler))
    assert watched.asked == 0
    sampler.set_epoch(3)  # as Lightning does after `iter`
    assert next(batches) == epoch(samplers(100, 8, 1)[0], 3)[0]
    assert watched.asked == 1


def test_the_position_is_asked_at_the_first_next_of_each_iteration():
    sampler = samplers(100, 8, 1)[0]
    whole = list(sampler)
    position = [9]
    loader = LazyLoader(sampler, sampler, lambda: position[0])
    batches = iter(loader)
    position[0] = 4
    assert list(batches) == whole[4:]
    position[0] = 0
    assert list(loader) == whole
    assert len(loader) == 13


def test_lightning_finds_what_it_looks_for():
    from lightning.fabric.utilities.data import _set_sampler_epoch
    from lightning.fabric.utilities.types import _Stateful
    from torch.utils.data import DataLoader

    sampler = samplers(100, 8, 1)[0]
    loader = LazyLoader(sampler, sampler)
    _set_sampler_epoch(loader, 7)
    assert sampler.epoch == 7
    assert not isinstance(loader, DataLoader)  # or its sampler is replaced
    assert isinstance(loader, _Stateful)  # or resuming in mid-epoch is called unreliable
    assert loader.state_dict() == {}
    loader.load_state_dict({})
    assert list(loader) == epoch(samplers(100, 8, 1)[0], 7)
