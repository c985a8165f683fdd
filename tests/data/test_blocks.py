"""Rows read from their file in blocks: those that a dataset holds, in its order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from datasets import Dataset, concatenate_datasets

from dpo_lightning.data.blocks import BLOCK, read_blocks

ROWS = Dataset.from_dict({"a": range(2 * BLOCK + 10), "b": [""] * (2 * BLOCK + 10)})


def numbers(table: Any) -> np.ndarray:
    assert table.column_names == ["a"]
    assert len(table) <= BLOCK
    return table["a"].to_numpy()


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(ROWS, id="all"),
        pytest.param(ROWS.shuffle(seed=0), id="shuffled"),
        pytest.param(ROWS.select([BLOCK + 3, 5, 5, 2 * BLOCK, 0, 5]), id="some, one of them often"),
        pytest.param(ROWS.select(range(BLOCK - 5, BLOCK + 5)), id="a slice"),
        pytest.param(concatenate_datasets([ROWS.select([3, 1]), ROWS]), id="several files"),
        pytest.param(ROWS.select([]), id="none"),
    ],
)
def test_rows_come_in_the_order_of_the_dataset(rows):
    parts, order = read_blocks(rows, ("c", "a"), numbers)
    assert np.concatenate([np.empty(0, int), *parts])[order].tolist() == rows["a"][:]


def test_a_row_is_read_once_and_what_is_not_held_is_not_read():
    read: list[int] = []
    read_blocks(ROWS.select([5, 3, 5]), ("a",), lambda table: read.extend(table["a"].to_pylist()))
    assert read == [3, 5]
