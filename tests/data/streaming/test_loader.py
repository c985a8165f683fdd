"""The loader of a stream by itself."""

from __future__ import annotations

import math

import pytest

from dpo_lightning.batch import collate_padded
from dpo_lightning.data.loader import EpochProgress
from dpo_lightning.data.streaming.loader import Start, StreamLoader
from dpo_lightning.data.streaming.steps import Step
from dpo_lightning.data.streaming.tokens import Taken
from dpo_lightning.errors import InputError
from tests.helpers.tiny import PAIRS


class Steps:
    """Six batches of one pair, of a window of four examples."""

    def __init__(self):
        self.starts = []

    def __call__(self, start):
        self.starts.append(start)
        for done in range(start.done, 6):
            taken = Taken(PAIRS[done % 3], (done, 1))
            yield Step([taken], 4, [(done, 1), (done, 2)], [[1], [2, 1]] if done > 4 else None)


def loader(steps, restored=(), **progress):
    made = StreamLoader(steps, collate_padded, 2, restored)
    if progress:
        made.progress = lambda: EpochProgress(**{"accumulate": 2, "batches": math.inf, "epoch": 3, **progress})
    return made


def test_a_batch_weighs_its_part_of_the_optimizer_step():
    given = loader(Steps(), done=0)
    assert [batch.example_weight for batch in given] == [2 * 2 / 4] * 6
    assert [batch.row_ids.tolist() for batch in given] == [[0], [1], [2]] * 2


def test_it_goes_on_behind_the_batches_that_are_done():
    first, steps = loader(Steps(), done=0), Steps()
    list(first)
    assert [each["done"] for each in first.state()] == [1, 2, 3, 4, 5, 6]
    again = loader(steps, first.state(), done=4)
    assert len(list(again)) == 2
    assert steps.starts == [Start(3, 4, 2, [(3, 1), (3, 2)], None)]
    list(loader(steps, first.state(), done=6))
    assert steps.starts[-1].rest == [[1], [2, 1]]


def test_without_a_restore_it_begins_with_the_epoch_that_is_set():
    steps = Steps()
    given = loader(steps)
    given.sampler.set_epoch(5)
    list(given)
    assert steps.starts == [Start(5, 0, 1)]
    list(loader(steps, done=4, resumed=False, epoch=None))
    assert steps.starts[-1] == Start(0, 0, 2)


def test_the_rest_of_an_epoch_is_left_out():
    steps = Steps()
    assert list(loader(steps, done=math.inf)) == []
    assert steps.starts == []


def test_a_checkpoint_without_its_position_is_refused():
    with pytest.raises(InputError, match="does not say where its stream was after 4 batches"):
        list(loader(Steps(), [{"done": 3, "positions": [], "rest": None}], done=4))
