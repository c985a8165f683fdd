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


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"weight": "a", "source": "b"}, {"weight": "a"}, r" \(no column `source`\)"),
        ({}, {"source": "b"}, r" \(a column `source`, which is new\)"),
        ({"weight": "a"}, {"weight": "b"}, r" \(other values in the column `weight`\)"),
        (
            {"weight": "a", "src": "b"},
            {"weight": "b", "source": "b"},
            r" \(no column `src`, a column `source`, which is new, other values in the column `weight`\)",
        ),
        ({"weight": "a"}, {"weight": "a"}, ""),
        (None, {"weight": "a"}, ""),
    ],
)
def test_columns_that_differ_are_named(before, now, said):
    columns = {} if before is None else {"columns": before}
    with pytest.raises(InputError, match=f"written with content x, this run has y{said}: its position in the epoch"):
        ResumedEpoch("exact", {**STATE, "content": "x", **columns}).check({"content": "y", "columns": now})
