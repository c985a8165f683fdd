"""Every missing row once, in batches that keep to their budget."""

from __future__ import annotations

import numpy as np
import pytest

from dpo_lightning.data.content_hash import index_examples
from dpo_lightning.data.lengths import Lengths
from dpo_lightning.reference.cache.worklist import MissingRows, cut_batches
from tests.reference.cache.filling import make_pairs


def of_pairs(lengths: np.ndarray) -> Lengths:
    """Prompt, chosen, rejected."""
    return Lengths(lengths[:, 0], lengths[:, 1:], np.zeros(len(lengths), dtype=int))


class TestBatches:
    @pytest.mark.parametrize("is_tree", [True, False])
    def test_every_row_once_within_the_budget(self, is_tree):
        rng = np.random.default_rng(0)
        lengths = rng.integers(1, 50, (200, 3))
        rows = rng.permutation(200)[:150]
        batches = cut_batches(rows, of_pairs(lengths), 300, is_tree)
        assert sorted(np.concatenate(batches).tolist()) == sorted(rows.tolist())
        for batch in batches:
            prompt, chosen, rejected = lengths[batch].T
            width = (prompt + np.maximum(chosen, rejected)).max()
            cost = lengths[batch].sum() if is_tree else 2 * len(batch) * width
            assert cost <= 300

    def test_a_budget_smaller_than_a_row(self):
        assert [batch.tolist() for batch in cut_batches(np.array([0, 1]), of_pairs(np.full((2, 3), 9)), 5, True)] == [
            [0],
            [1],
        ]

    def test_no_rows(self):
        assert cut_batches(np.empty(0, dtype=int), of_pairs(np.empty((0, 3), dtype=int)), 5, True) == []


class TestMissingRows:
    def test_are_in_the_order_of_their_keys_and_struck_as_they_come(self):
        keys = index_examples(make_pairs(20)).keys
        missing = MissingRows(keys, np.arange(4, 20))
        assert (np.sort(keys[4:]) == keys[missing.rows]).all()

        missing.strike(keys[[0, 1, 7, 9]])  # two of them were never missing
        missing.strike(keys[[9]])

        assert len(missing) == 14
        assert sorted(missing.rows.tolist()) == sorted({*range(4, 20)} - {7, 9})

    def test_none(self):
        missing = MissingRows(index_examples(make_pairs(3)).keys, np.empty(0, dtype=int))
        missing.strike(index_examples(make_pairs(3)).keys)
        assert len(missing) == len(missing.rows) == 0
