"""Other loaders when a run goes on in the middle of an epoch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset

from dpo_lightning.compat.lightning_loops import Fetching
from dpo_lightning.data.loaders_beside import ResumedLoader, _going_on
from dpo_lightning.errors import InputError


def test_only_the_first_iteration_begins_in_the_middle():
    loader = ResumedLoader(DataLoader(range(6), 2), 2)
    assert [batch.tolist() for batch in loader] == [[4, 5]]
    assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3], [4, 5]]
    assert len(loader) == 3


def test_nothing_is_left_of_an_epoch_that_is_left_out():
    loader = ResumedLoader(DataLoader(range(6), 2), None)
    assert list(loader) == []
    assert len(list(loader)) == 3


class Endless(IterableDataset[int]):
    def __iter__(self) -> Any:
        return iter(int, 1)


ROWS = torch.arange(6)


@pytest.mark.parametrize(
    "other",
    [DataLoader(ROWS, 2, shuffle=True), DataLoader(Endless(), 2), iter([1, 2])],
    ids=["shuffled", "a stream", "an iterator"],
)
def test_what_would_begin_anew_is_refused(other):
    ordered = DataLoader(ROWS, 2)
    with pytest.raises(InputError, match=f"the {type(other).__name__} beside"):
        _going_on(Fetching(1, True, True, [ordered, other]))
    assert _going_on(Fetching(0, True, True, [other, ordered]))[0] is other  # at the epoch's begin nothing is lost


@pytest.mark.parametrize(("cycled", "left"), [(True, 1), (False, 0)])
def test_each_is_where_it_was(cycled, left):
    by_epoch = DataLoader(ROWS, 2, sampler=DistributedSampler(ROWS, 1, 0))
    short, long = _going_on(Fetching(5, True, cycled, [by_epoch, DataLoader(torch.arange(20), 2)]))
    assert [len(list(short)), len(list(long))] == [left, 5]
    assert short.sampler is by_epoch.sampler
