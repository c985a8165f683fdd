"""The rows of an epoch, counted."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from dpo_lightning.data.batch_plans import OrderedTokenPlan, TokenPlan
from dpo_lightning.data.lengths import Lengths
from dpo_lightning.data.mixing.epoch_rows import AllRows, MixedRows, OrderedRows, Part, SameRows, chosen_rows

LENGTHS = np.random.default_rng(3).integers(5, 400, 150)


def mixed(*taken, sizes=(70, 30, 50), seed=0):
    starts = np.cumsum([0, *sizes])
    parts = [
        Part(f"s{n}", int(starts[n]), size, count) for n, (size, count) in enumerate(zip(sizes, taken, strict=True))
    ]
    return MixedRows(parts, LENGTHS[: sum(sizes)], seed)


@pytest.mark.parametrize("taken", [(70, 30, 50), (1, 95, 49), (140, 29, 7), (69, 31, 100)])
def test_each_source_gives_its_number_and_passes_are_whole(taken):
    rows = mixed(*taken)
    for epoch in range(4):
        counts = Counter(rows.of(epoch).tolist())
        for part in rows.parts:
            own = [counts[row] for row in range(part.start, part.start + part.size)]
            assert sum(own) == part.taken
            assert {*own} <= {part.taken // part.size, part.taken // part.size + 1}
    assert len(rows) == sum(taken) == len(rows.of(0))


@pytest.mark.parametrize("taken", [1, 7, 23, 35, 69])
def test_no_row_is_left_out_for_ever(taken):
    rows = mixed(taken, sizes=(70,))
    turn = -(-70 // taken)
    for first in (0, turn, 5 * turn):
        seen = Counter(np.concatenate([rows.of(first + step) for step in range(turn)]).tolist())
        assert seen.keys() == {*range(70)}
        assert max(seen.values()) <= 2
    assert {*rows.of(0)} != {*rows.of(1)}


def test_parts_follow_from_seed_and_epoch_alone():
    again, other = mixed(20, 10, 60), mixed(20, 10, 60, seed=1)
    rows = mixed(20, 10, 60)
    assert [rows.of(5).tolist(), rows.of(0).tolist()] == [again.of(5).tolist(), again.of(0).tolist()]
    assert rows.of(0).tolist() != other.of(0).tolist()


@pytest.mark.parametrize("taken", [(20, 10, 60), (69, 1, 3), (140, 45, 51)])
def test_no_epoch_has_longer_rows_than_the_ceiling(taken):
    rows = mixed(*taken)
    ceiling = rows.ceiling(LENGTHS)
    assert len(ceiling) == sum(taken)
    for epoch in range(60):
        assert (-np.sort(-LENGTHS[rows.of(epoch)]) <= ceiling).all()
    # A part may be longer than another by one row of the longest ones and a few short ones, not more.
    least = min(LENGTHS[rows.of(epoch)].sum() for epoch in range(60))
    assert ceiling.sum() - least <= 6 * LENGTHS.max()


@pytest.mark.parametrize("limit", [400, 420, 900, 3000])
def test_the_steps_of_every_epoch_are_as_many_as_were_counted(limit):
    rows = mixed(33, 40, 21)
    plan = TokenPlan(LENGTHS, limit, rows=rows, world_size=2)
    for epoch in range(12):
        steps = plan.steps(epoch)
        assert len(steps) == len(plan)
        batches = [batch for step in steps for batch in step]
        assert all(0 < LENGTHS[batch].sum() <= limit for batch in batches)
        assert Counter(np.concatenate(batches).tolist()) == Counter(rows.of(epoch).tolist())


def test_ordered_rows_ascend_and_equal_ones_keep_their_order():
    keys = np.array([3, 1, 2, 1, 3])
    assert OrderedRows(AllRows(5), keys).of(4).tolist() == [1, 3, 2, 0, 4]
    plan = OrderedTokenPlan([3, 1, 2, 1, 3], 4, rows=OrderedRows(AllRows(5), keys))
    assert [batch.tolist() for step in plan.steps(0) for batch in step] == [[1, 3, 2], [0], [4]]


def test_ordered_rows_of_a_mix_are_those_of_the_mix():
    rows = OrderedRows(mixed(20, 45, 9), LENGTHS)
    for epoch in range(3):
        assert Counter(rows.of(epoch).tolist()) == Counter(rows.rows.of(epoch).tolist())
        assert (np.diff(LENGTHS[rows.of(epoch)]) >= 0).all()
    assert len(rows) == 74
    assert rows.ceiling(LENGTHS).tolist() == rows.rows.ceiling(LENGTHS).tolist()


def test_the_same_rows_stay():
    rows = SameRows(mixed(20, 10, 9))
    assert rows.of(7).tolist() == rows.of(0).tolist() == mixed(20, 10, 9).of(0).tolist()
    assert len(rows) == len(rows.ceiling(LENGTHS)) == 39


def test_without_sources_all_rows_are_chosen():
    lengths = Lengths(LENGTHS, np.zeros((150, 2), int), np.zeros(150, int))
    assert chosen_rows((), lengths, 0).of(1).tolist() == [*range(150)]
    assert chosen_rows([Part("a", 0, 150, 10)], lengths, 0).of(1).shape == (10,)
