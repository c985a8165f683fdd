"""Orders of a curriculum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from datasets import Dataset

from dpo_lightning import ByLength, ByMargin, Order
from dpo_lightning.data.lengths import Lengths
from dpo_lightning.data.mixing.epoch_rows import Part
from dpo_lightning.data.mixing.order import check_order_fits, checked_keys, checked_order
from dpo_lightning.errors import InputError

ROWS = Dataset.from_list([{"row": n, "margin": margin} for n, margin in enumerate([0.5, -2.0, 3.0])])
LENGTHS = Lengths(np.array([4, 1, 2]), np.array([[1, 1], [9, 1], [1, 0]]), np.zeros(3, int))


@pytest.mark.parametrize(
    ("order", "rows"),
    [
        (ByLength(), [2, 0, 1]),
        (ByLength(descending=True), [1, 0, 2]),
        (ByMargin(), [1, 0, 2]),
        (ByMargin(descending=True), [2, 0, 1]),
    ],
)
def test_the_smallest_key_comes_first(order, rows):
    assert np.argsort(checked_keys(order, ROWS, LENGTHS)).tolist() == rows


def test_a_margin_that_nobody_named_is_missed():
    with pytest.raises(InputError, match=r"name its column in data\.format\.margin"):
        checked_keys(ByMargin(), ROWS.remove_columns("margin"), LENGTHS)


@pytest.mark.parametrize("keys", [[1.0, 2.0], [1.0, float("nan"), 2.0], ["a", "b", "c"]])
def test_keys_of_an_own_order_are_checked(keys):
    @dataclass(frozen=True)
    class Own(Order):
        def keys(self, rows, lengths):
            return keys

    with pytest.raises(InputError, match=r"data\.order Own: keys must be a finite number of each of the 3 rows"):
        checked_keys(Own(), ROWS, LENGTHS)


def test_what_is_no_order_is_refused():
    assert checked_order(None, True) is None
    with pytest.raises(InputError, match=r"data\.order: ByLength is a class: write ByLength"):
        checked_order(ByLength, None)
    with pytest.raises(InputError, match=r"data\.length_grouped: data\.order says the order"):
        checked_order(ByLength(), True)
    with pytest.raises(InputError, match=r"ByLength.descending must be true or false"):
        ByLength(descending=3)


def test_an_order_by_tokens_needs_the_same_rows_in_each_epoch():
    whole, part = Part("whole", 0, 10, 20), Part("part", 10, 10, 15)
    check_order_fits(ByLength(), None, [whole, part])
    check_order_fits(ByLength(), 100, [whole])
    with pytest.raises(InputError, match="each epoch has another part of source 'part'"):
        check_order_fits(ByLength(), 100, [whole, part])
