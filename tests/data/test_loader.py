"""The batches of a rank, what their pairs weigh, and the loader that Lightning iterates over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest

from dpo_lightning.data import ExampleBatchSampler, ExamplePlan, LazyLoader, TokenPlan
from dpo_lightning.data.loader import EpochProgress, example_weights

LENGTHS = np.random.default_rng(0).integers(10, 400, size=1000).tolist()


def sampler(world_size: int = 1, rank: int = 0) -> ExampleBatchSampler:
    """Of 100 pairs, 13 batches over all ranks' eights."""
    return ExampleBatchSampler(ExamplePlan(LENGTHS[:100], 8 // world_size, shuffle=True, world_size=world_size), rank)


def epoch(of: ExampleBatchSampler, number: int = 0) -> list[list[int]]:
    of.set_epoch(number)
    return list(of)


def test_a_rank_has_its_part_of_each_step():
    steps = sampler().plan.steps(3)
    ranks = [epoch(sampler(2, rank), 3) for rank in range(2)]
    for step, *shares in zip(steps, *ranks, strict=True):
        assert sorted(pair for share in shares for pair in share) == sorted(step[0].tolist())
    for rank in range(2):
        of_all = sampler(2, rank)
        of_all.set_epoch(3)
        assert of_all.losses_per_step() == [len(step[0]) for step in steps]


def test_examples_with_several_losses_weigh_as_many():
    losses = np.random.default_rng(1).integers(1, 4, size=100)
    plan = ExamplePlan(LENGTHS[:100], 4, shuffle=True, world_size=2)
    ranks = [ExampleBatchSampler(plan, rank, losses) for rank in range(2)]
    counted = [[losses[batch].sum() for batch in epoch(rank)] for rank in ranks]

    assert ranks[0].losses_per_step() == ranks[1].losses_per_step() == np.sum(counted, 0).tolist()
    weights = [*example_weights(ranks[0].losses_per_step(), EpochProgress(0, 3, 13), 2)]
    # The losses of a window, each with its weight, Lightning's and the strategy's divisors: a mean.
    for first in range(0, 13, 3):
        window = slice(first, first + 3)
        assert np.dot(weights[window], ranks[0].losses_per_step()[window]) / 3 / 2 == pytest.approx(1)


@pytest.mark.parametrize("start", [0, 1, 5, 12, 13])
def test_start_skips_exactly_that_many_batches(start):
    late = sampler()
    whole = epoch(late, 2)
    assert len(whole) == len(late) == 13
    late.start = start
    assert list(late) == whole[start:]
    assert len(late) == 13


# What pairs weigh


def weights(
    pairs: list[int], done: int = 0, accumulate: int = 1, batches: int = 99, world_size: int = 1
) -> list[float]:
    return list(example_weights(pairs, EpochProgress(done, accumulate, batches), world_size))


def test_alone_a_batch_is_a_mean():
    assert weights([4, 2, 5]) == [1 / 4, 1 / 2, 1 / 5]


def test_pairs_of_a_window_weigh_the_same_and_lightning_divides_once_more():
    assert weights([4, 2, 5, 5, 1, 3], accumulate=3) == [3 / 11] * 3 + [3 / 9] * 3


def test_the_last_window_is_divided_as_if_it_were_whole():
    assert weights([4, 2, 5, 5], accumulate=3) == [3 / 11] * 3 + [3 / 5]


def test_an_epoch_that_is_cut_short_ends_its_last_window():
    assert weights([4, 2, 5, 5, 1], accumulate=3, batches=4) == [3 / 11] * 3 + [3 / 5]


def test_after_a_restore_windows_are_where_they_were():
    whole = weights([4, 2, 5, 5, 1, 3, 2], accumulate=3)
    assert weights([4, 2, 5, 5, 1, 3, 2], accumulate=3, done=3) == whole[3:]


def test_the_rest_of_an_interrupted_window_is_all_that_the_optimizer_gets():
    assert weights([4, 2, 5, 5], accumulate=3, done=1) == [3 / 7] * 2 + [3 / 5]


def test_ranks_are_averaged_by_the_strategy():
    assert weights([6, 3], world_size=2) == [2 / 6, 2 / 3]


def test_in_each_window_of_random_plans_the_weights_make_a_mean():
    rng = np.random.default_rng(0)
    for _ in range(200):
        world_size, accumulate = int(rng.integers(1, 5)), int(rng.integers(1, 7))
        plan = TokenPlan(LENGTHS[: rng.integers(50, 200)], 1500, seed=int(rng.integers(9)), world_size=world_size)
        batches = int(rng.integers(1, len(plan) + 1))
        counts = [[len(batch) for batch in step] for step in plan.steps(int(rng.integers(5)))]
        found = weights([sum(step) for step in counts], accumulate=accumulate, batches=batches, world_size=world_size)
        assert len(found) == batches
        for first in range(0, batches, accumulate):
            window = slice(first, min(first + accumulate, batches))
            # What Lightning and the strategy make of a loss of 1 for each pair.
            mean_over_ranks = sum(
                sum(weight * step[rank] for weight, step in zip(found[window], counts[window], strict=True))
                / accumulate
                for rank in range(world_size)
            )
            assert mean_over_ranks / world_size == pytest.approx(1)


# LazyLoader


class Batch(NamedTuple):
    """What the loader has to do with a batch."""

    examples: list[int]
    example_weight: float | None = None


class Watched:
    """An iterable that says when it is asked, and for how much."""

    def __init__(self, of: ExampleBatchSampler) -> None:
        self.sampler = of
        self.asked = 0
        self.given = 0

    def __iter__(self) -> Iterator[Batch]:
        self.asked += 1
        for pairs in self.sampler:
            self.given += 1
            yield Batch(pairs)


def test_nothing_happens_before_the_first_next():
    lazy = sampler()
    watched = Watched(lazy)
    batches = iter(LazyLoader(watched, lazy))
    assert watched.asked == 0
    lazy.set_epoch(3)  # as Lightning does after `iter`
    assert next(batches).examples == epoch(sampler(), 3)[0]
    assert watched.asked == 1


def test_the_progress_is_asked_at_the_first_next_of_each_iteration():
    lazy = sampler()
    whole = list(lazy)
    progress = [EpochProgress(9, 1, 13)]
    loader = LazyLoader(Watched(lazy), lazy, lambda: progress[0])
    batches = iter(loader)
    progress[0] = EpochProgress(4, 2, 13)
    found = list(batches)
    assert [batch.examples for batch in found] == whole[4:]
    sizes = [len(pairs) for pairs in whole]
    assert [batch.example_weight for batch in found] == weights(sizes, done=4, accumulate=2, batches=13)
    progress[0] = EpochProgress(0, 1, 13)
    assert [batch.examples for batch in loader] == whole
    assert len(loader) == 13


def test_no_batch_is_prepared_that_lightning_does_not_take():
    lazy = sampler()
    watched = Watched(lazy)
    assert len(list(LazyLoader(watched, lazy, lambda: EpochProgress(0, 1, 5)))) == watched.given == 5


def test_evaluation_has_no_weights():
    lazy = sampler()
    assert {batch.example_weight for batch in LazyLoader(Watched(lazy), lazy)} == {None}


def test_lightning_finds_what_it_looks_for():
    from lightning.fabric.utilities.data import _set_sampler_epoch
    from lightning.fabric.utilities.types import _Stateful
    from torch.utils.data import DataLoader

    lazy = sampler()
    loader = LazyLoader(Watched(lazy), lazy)
    _set_sampler_epoch(loader, 7)
    assert lazy.epoch == 7
    assert not isinstance(loader, DataLoader)  # or its sampler is replaced
    assert isinstance(loader, _Stateful)  # or resuming in mid-epoch is called unreliable
    assert loader.state_dict() == {}
    loader.load_state_dict({})
    assert [batch.examples for batch in loader] == epoch(sampler(), 7)
