"""Tokens of an epoch in each layout, counted by hand and from batches."""

from __future__ import annotations

import numpy as np
import pytest

from dpo_lightning.batch import TokenizedExample, collate_padded, collate_tree
from dpo_lightning.data.inspect.computed import Computed, histogram, tokens_computed
from dpo_lightning.data.lengths import Lengths
from tests.helpers.tiny import PAIRS, labelled_of


def test_by_hand():
    lengths = Lengths(np.array([4, 2]), np.array([[4, 3], [2, 5]]), np.zeros(2, int))
    computed = tokens_computed(lengths, batch_pairs=2)
    assert computed == Computed(padded=4 * 8, grouped=4 * 8, packed=8 + 7 + 4 + 7, tree=11 + 9)
    assert computed.speedup == 1.6


@pytest.mark.parametrize("examples", [PAIRS, [labelled_of(pair)._replace(mismatched_ids=[]) for pair in PAIRS]])
def test_one_batch_has_as_many_tokens_as_what_is_collated(examples: list[TokenizedExample]):
    computed = tokens_computed(Lengths.of_examples(examples), batch_pairs=len(examples))
    assert computed.padded == collate_padded(examples).input_ids.numel()
    assert computed.tree == collate_tree(examples).input_ids.numel()


def test_similar_lengths_together_are_less_padding():
    rng = np.random.default_rng(0)
    lengths = Lengths(rng.integers(1, 200, 400), rng.integers(1, 200, (400, 2)), np.zeros(400, int))
    computed = tokens_computed(lengths, 8)
    assert computed.tree < computed.packed < computed.grouped < computed.padded


def test_nothing_is_computed_of_nothing():
    assert tokens_computed(Lengths.of_examples([]), 8) == (0, 0, 0, 0)
    assert Computed(0, 0, 0, 0).speedup == 1.0


def test_a_histogram_counts_every_length():
    lengths = np.random.default_rng(0).integers(0, 977, 500)
    bins = histogram(lengths)
    assert sum(count for *_, count in bins) == 500
    for first, last, count in bins:
        assert count == ((lengths >= first) & (lengths <= last)).sum()
        assert last - first + 1 == 100
    assert histogram(np.array([3])) == [(0, 0, 0), (1, 1, 0), (2, 2, 0), (3, 3, 1)]
    assert histogram(np.array([], dtype=int)) == []
