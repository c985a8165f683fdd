"""The epoch that a checkpoint was taken in."""

from __future__ import annotations

import pytest

from dpo_lightning.data.resuming import ResumedEpoch
from dpo_lightning.errors import InputError

STATE = {"batches_done": 3, "batches": 8, "pairs": 24, "world_size": 2, "batch_pairs": 4}


def test_the_same_order_is_accepted_and_what_one_side_does_not_know_is_not_compared():
    ResumedEpoch("exact", STATE).check({"pairs": 24, "world_size": 2, "layout": "tree"})


@pytest.mark.parametrize(("name", "now"), [("world_size", 4), ("pairs", 25), ("batch_pairs", None)])
def test_another_one_is_refused_unless_the_rest_is_left_out(name, now):
    with pytest.raises(InputError, match=f"written with {name} {STATE[name]}, this run has {now}.*data.resume=next"):
        ResumedEpoch("exact", STATE).check({**STATE, name: now})
    ResumedEpoch("next_epoch", STATE).check({**STATE, name: now})


def test_the_rest_is_left_out_once():
    exact, left_out = ResumedEpoch("exact", STATE), ResumedEpoch("next_epoch", STATE)
    assert [exact.done(3, 6), exact.done(0, 6)] == [3, 0]
    assert [left_out.done(3, 6), left_out.done(0, 6)] == [6, 0]


@pytest.mark.parametrize("done", [0, 8])
def test_nothing_is_left_of_an_epoch_that_ended_or_has_not_begun(done):
    assert ResumedEpoch("next_epoch", {**STATE, "batches_done": done}).done(0, 6) == 0
