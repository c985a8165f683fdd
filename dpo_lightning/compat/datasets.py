"""The cache of `datasets`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset


def fingerprint(rows: Dataset) -> str:
    """Return the hash that stands for the rows in the cache.

    Touches `Dataset._fingerprint`: `map` takes a `new_fingerprint`, which must follow from the old one, and nothing
    public tells it. Where it changes, tokenising fails at the start.
    """
    return rows._fingerprint


def chosen_rows(rows: Dataset) -> np.ndarray | None:
    """Return which rows of its table a dataset holds, in their order; None for all of them.

    Touches `Dataset._indices`, which `select`, `shuffle` and `train_test_split` set: nothing public tells them.
    Where it changes, an epoch's plan fails at the start.
    """
    return None if rows._indices is None else rows._indices.column(0).to_numpy().astype("int64")
