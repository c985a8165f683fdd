"""Which pairs make up which step, over ranks and epochs."""

from __future__ import annotations

import heapq
import itertools
import math

import numpy as np
import pytest

from dpo_lightning.data import BatchPlan, ExamplePlan, OrderedTokenPlan, TokenPlan
from dpo_lightning.data import batch_plans as plans_module
from dpo_lightning.errors import InputError

LENGTHS = np.random.default_rng(0).integers(10, 400, size=1000).tolist()


def pair_plan(pairs: int, batch_pairs: int, world_size: int = 1, grouped: bool = True, **settings) -> ExamplePlan:
    lengths = LENGTHS[:pairs]
    settings = {"shuffle": True, "group_by": lengths if grouped else None, **settings}
    return ExamplePlan(lengths, batch_pairs, world_size=world_size, **settings)


def steps(plan: BatchPlan, epoch: int = 0) -> list[list[list[int]]]:
    """Pairs of each rank in each step."""
    return [[batch.tolist() for batch in step] for step in plan.steps(epoch)]


def batches(plan: BatchPlan, epoch: int = 0) -> list[list[int]]:
    return [batch for step in steps(plan, epoch) for batch in step]


def tokens_of(batch: list[int]) -> int:
    return sum(LENGTHS[pair] for pair in batch)


def assert_whole(plan: BatchPlan, pairs: int, epoch: int = 0) -> None:
    """Every pair once, equally many batches on every rank, none empty."""
    planned = steps(plan, epoch)
    assert len(planned) == len(plan)
    assert {len(step) for step in planned} == {plan.world_size}
    assert all(batch for step in planned for batch in step)
    assert sorted(pair for step in planned for batch in step for pair in batch) == list(range(pairs))


# ExamplePlan

CASES = [
    (pairs, batch_pairs, world_size)
    for pairs, batch_pairs, world_size in itertools.product(
        (1, 2, 3, 7, 8, 9, 16, 17, 31, 100, 257), (1, 2, 3, 8, 64), (1, 2, 3, 4, 8)
    )
    if pairs >= world_size
]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_each_pair_once_an_epoch_in_equally_many_batches_on_every_rank(shuffle, grouped):
    for pairs, batch_pairs, world_size in CASES:
        plan = pair_plan(pairs, batch_pairs, world_size, grouped, shuffle=shuffle)
        assert_whole(plan, pairs)
        sizes = [len(batch) for batch in batches(plan)]
        assert max(sizes) - min(sizes) <= 1, (pairs, batch_pairs, world_size)


def test_batches_are_as_few_as_the_number_of_pairs_allows():
    for pairs, batch_pairs, world_size in CASES:
        plan = pair_plan(pairs, batch_pairs, world_size)
        largest = max(map(len, batches(plan)))
        indivisible = batch_pairs == 1 and pairs % world_size
        assert largest <= (2 if indivisible else batch_pairs), (pairs, batch_pairs, world_size)
        if not indivisible:
            assert len(plan) == math.ceil(pairs / (batch_pairs * world_size))


@pytest.mark.parametrize(
    "plan",
    [
        lambda seed: pair_plan(100, 8, seed=seed),
        lambda seed: pair_plan(100, 8, 2, False, seed=seed),
        lambda seed: TokenPlan(LENGTHS[:100], 2000, seed=seed),
        lambda seed: TokenPlan(LENGTHS[:100], 2000, seed=seed, world_size=2),
    ],
)
def test_the_order_is_a_function_of_seed_and_epoch(plan):
    first, again = plan(3), plan(3)
    np.random.seed(0)
    orders = [steps(first, epoch) for epoch in (0, 1, 0)]
    np.random.seed(1)
    assert [steps(again, epoch) for epoch in (0, 1, 0)] == orders
    assert orders[0] == orders[2] != orders[1]
    assert orders[0] != steps(plan(4), 0)
    # Not only the batches' order: who is together changes too.
    together = [{frozenset(batch) for batch in batches(first, epoch)} for epoch in (0, 1)]
    assert len(together[0] & together[1]) < 3


def test_ranks_share_the_order():
    alone, together = steps(pair_plan(96, 8)), steps(pair_plan(96, 4, 2))
    assert [sorted(left + right) for left, right in together] == [sorted(batch) for (batch,) in alone]


def test_without_shuffling_the_order_is_the_datas():
    for epoch in (0, 5):
        assert batches(pair_plan(10, 4, shuffle=False), epoch) == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]


def _cells(planned: list[list[int]]) -> int:
    """Tokens and padding of the batches."""
    return sum(len(batch) * max(LENGTHS[i] for i in batch) for batch in planned)


def test_grouping_by_length_saves_most_of_the_padding():
    padding = {
        grouped: _cells(batches(pair_plan(1000, 8, grouped=grouped))) - sum(LENGTHS) for grouped in (False, True)
    }
    assert padding[True] < 0.1 * padding[False], padding


def test_groups_are_of_the_given_lengths_not_of_the_tokens():
    lengths = list(range(1000))
    plan = ExamplePlan(LENGTHS, 8, shuffle=True, group_by=lengths)
    assert np.median([max(batch) - min(batch) for batch in batches(plan)]) < 40


def test_grouping_spreads_similar_lengths_over_the_ranks():
    for step in steps(pair_plan(1000, 8, 4)):
        longest = [max(LENGTHS[i] for i in batch) for batch in step]
        assert max(longest) - min(longest) < 30


def test_grouped_steps_do_not_come_sorted_by_length():
    longest = [max(LENGTHS[i] for i in batch) for batch in batches(pair_plan(1000, 8))]
    assert abs(np.corrcoef(longest, range(len(longest)))[0, 1]) < 0.3


@pytest.mark.parametrize("shuffle", [False, True])
def test_the_ranks_of_a_step_have_about_equally_many_tokens(shuffle):
    """Dealt in turn, the ranks of these steps are up to a third apart."""
    for world_size, most in ((2, 0.06), (4, 0.1)):
        spreads = []
        for step in steps(pair_plan(1000, 8, world_size, grouped=False, shuffle=shuffle)):
            loads = [tokens_of(batch) for batch in step]
            spreads.append((max(loads) - min(loads)) / max(loads))
        assert np.mean(spreads) < most, world_size


def test_a_step_that_can_be_dealt_evenly_is():
    plan = ExamplePlan([9, 1, 1, 9, 5, 5, 5, 5], 4, shuffle=False, world_size=2)
    assert [sum(plan.tokens[batch]) for batch in plan.steps(0)[0]] == [20, 20]


def test_fewer_pairs_than_ranks_are_refused():
    with pytest.raises(InputError, match="3 pairs cannot be spread over 4 ranks: give more"):
        ExamplePlan([1, 2, 3], 1, shuffle=False, world_size=4)
    with pytest.raises(InputError, match="3 pairs cannot be spread over 4 ranks: give more"):
        TokenPlan([1, 2, 3], 9, world_size=4)
    with pytest.raises(InputError, match="3 pairs cannot be spread over 4 ranks: give more"):
        OrderedTokenPlan([1, 2, 3], 9, world_size=4)


# TokenPlan and OrderedTokenPlan


def random_case(number: int) -> tuple[list[int], int, int]:
    """Tokens, budget, ranks: from one pair a batch to hundreds."""
    rng = np.random.default_rng(number)
    pairs = int(rng.integers(8, 200))
    tokens = np.clip(rng.lognormal(4, rng.uniform(0, 1), pairs), 2, 2000).astype(int)
    return tokens.tolist(), int(tokens.max() * rng.uniform(1, 20)), int(rng.choice([1, 1, 2, 4, 8]))


@pytest.mark.parametrize("kind", [TokenPlan, OrderedTokenPlan])
def test_no_batch_exceeds_the_budget_and_every_epoch_is_whole(kind):
    refused = 0
    for number in range(150):
        tokens, budget, world_size = random_case(number)
        try:
            plan = kind(tokens, budget, world_size=world_size)
        except InputError:
            # Nearly every pair needs a batch of its own, and then the last step has too few for every rank.
            refused += 1
            assert world_size > 1
            assert 2 * sum(tokens) / budget > len(tokens) - world_size, number
            continue
        for epoch in (0, 3):
            assert_whole(plan, len(tokens), epoch)
            assert max(sum(tokens[pair] for pair in batch) for batch in batches(plan, epoch)) <= budget, number
    assert refused < 15


def test_batches_of_tokens_are_nearly_full_and_about_as_few_as_can_be():
    for budget, world_size, least in ((4000, 1, 0.97), (4000, 4, 0.94), (1200, 1, 0.9)):
        plan = TokenPlan(LENGTHS, budget, world_size=world_size)
        loads = np.array([[tokens_of(batch) for batch in step] for step in steps(plan)])
        assert loads.mean() > least * budget, (budget, world_size)
        assert (loads.max(axis=1) - loads.min(axis=1)).max() < 0.02 * budget


def test_the_number_of_steps_is_the_fewest_that_the_order_by_length_fits():
    for number in range(40):
        tokens, budget, world_size = random_case(number)
        if len(tokens) < 2 * world_size or world_size > 2:
            continue
        plan = TokenPlan(tokens, budget, world_size=world_size)
        fewest = math.ceil(sum(tokens) / (budget * world_size))
        assert fewest <= len(plan) <= math.ceil(1.25 * fewest) + 1, number


def test_one_pair_a_batch_where_no_two_fit():
    plan = TokenPlan([60, 70, 80, 90], 100, world_size=2)
    assert len(plan) == 2
    assert all(len(batch) == 1 for batch in batches(plan))
    with pytest.raises(InputError, match="batch_tokens 100: 3 pairs do not make equally many batches on 2 ranks"):
        TokenPlan([60, 70, 80], 100, world_size=2)
    with pytest.raises(InputError, match="batch_tokens 100: 3 pairs do not make equally many batches on 2 ranks"):
        OrderedTokenPlan([60, 70, 80], 100, world_size=2)


def test_batches_of_one_pair_meet_their_likes_on_the_other_ranks():
    tokens = [600 + n for n in range(0, 400, 2)]
    for (one,), (other,) in steps(TokenPlan(tokens, 1024, world_size=2)):
        assert abs(tokens[one] - tokens[other]) == 2


def test_pairs_that_fill_the_budget_exactly():
    plan = TokenPlan([100] * 1000, 1000, world_size=2)
    assert len(plan) == 50
    # Equal pairs trade places even where no pair may move.
    together = [{frozenset(batch) for batch in batches(plan, epoch)} for epoch in (0, 1)]
    assert len(together[0] & together[1]) < 3


def test_an_order_that_does_not_fit_gives_way_to_the_next(monkeypatch):
    """Two batches of 10 and 9 + 1: moved by half an octave, 9 may come first and still fit; 6, 5, 5, 4 may not."""
    tokens = [6, 5, 5, 4]
    monkeypatch.setattr(plans_module, "_SHUFFLES", (3.0, 0.0))
    plan = TokenPlan(tokens, 10)
    assert len(plan) == 2
    for epoch in range(20):
        assert [sum(tokens[pair] for pair in batch) for batch in batches(plan, epoch)] == [10, 10]


def test_in_order_batches_are_filled_in_the_order_of_the_data():
    plan = OrderedTokenPlan([4, 4, 4, 9, 1, 1], 10)
    assert batches(plan) == [[0, 1], [2], [3, 4], [5]]
    assert batches(plan, 7) == batches(plan)


def test_in_order_the_largest_batch_is_split_where_a_rank_would_have_none():
    assert batches(OrderedTokenPlan([4, 4, 4, 9, 1], 10, world_size=2)) == [[0], [1], [2], [3, 4]]


def one_by_one(tokens: list[int], batches: int, limit: int) -> list[int] | None:
    """The batch of each pair, which goes into the one with the fewest tokens."""
    heap = [(0, number) for number in range(batches)]
    batch_of = []
    for count in tokens:
        filled, number = heap[0]
        if filled + count > limit:
            return None
        heapq.heapreplace(heap, (filled + count, number))
        batch_of.append(number)
    return batch_of


def test_many_pairs_at_once_go_where_each_would_go_alone():
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(1000):
        tokens = rng.integers(1, rng.choice([3, 20, 100_000]), size=rng.integers(1, 80))
        tokens = -np.sort(-tokens) if rng.random() < 0.5 else tokens
        batches = int(rng.integers(1, len(tokens) + 1))
        limit = int(tokens.sum() / batches * rng.choice([1, 1.1, 1.5, 3])) + 1
        found, expected = plans_module._emptiest_first(tokens, batches, limit), one_by_one(tokens, batches, limit)
        assert (found is None) == (expected is None)
        assert found is None or found.tolist() == expected
        outcomes.add(found is None)
    assert outcomes == {True, False}


def test_the_order_of_an_epoch_is_that_of_earlier_versions():
    """As computed there: a checkpoint in the middle of an epoch goes on with its batches."""
    assert batches(TokenPlan(LENGTHS[:12], 900, seed=3, world_size=2), epoch=1) == [
        [9, 2],
        [10, 1, 7],
        [11, 3, 6, 5],
        [0, 4, 8],
    ]
