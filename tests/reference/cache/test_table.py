"""Rows are found by their keys, and reach their own tokens."""

from __future__ import annotations

import pickle
from itertools import chain

import numpy as np
import pytest
import torch

from dpo_lightning.batch import collate_padded, collate_tree
from dpo_lightning.data.content_hash import index_examples
from dpo_lightning.errors import InputError, RunError
from dpo_lightning.reference.cache.shards import write_shard
from dpo_lightning.reference.cache.table import ReferenceTable, pack
from tests.reference.cache.filling import bound, brute_values, fill, make_pairs, values
from tests.reference.common import policy_of

PAIRS = make_pairs(40)
ROWS = [np.arange(sum(map(len, pair.branches)), dtype=np.float32) / 3 for pair in PAIRS]
KEYS = index_examples(PAIRS).keys


def test_rows_of_many_shards(tmp_path):
    paths = [write_shard(tmp_path, KEYS[start::3], ROWS[start::3]) for start in range(3)]
    table = pickle.loads(pickle.dumps(ReferenceTable(paths)))
    order = np.random.default_rng(0).permutation(len(PAIRS))
    for row, found in zip(order, table.rows(KEYS[order]), strict=True):
        assert np.array_equal(found, ROWS[row])
    assert len(pickle.dumps(table)) < 1000


def test_what_is_missing(tmp_path):
    table = ReferenceTable([write_shard(tmp_path, KEYS[:30], ROWS[:30])])
    assert table.has(KEYS).tolist() == [True] * 30 + [False] * 10
    with pytest.raises(KeyError) as missing:
        table.rows(KEYS[28:])
    assert missing.value.args == (2,)
    assert not ReferenceTable([]).has(KEYS).any()


def test_values_reach_their_own_tokens_in_both_layouts(tmp_path):
    table = fill(reference := bound(policy_of(), tmp_path), PAIRS)
    some = [PAIRS[7], PAIRS[2], PAIRS[11]]
    for collate in (collate_tree, collate_padded):
        found = reference.token_logps(reference.collate(collate)(some))
        expected = values(table, some)
        chosen = [row[: len(pair.completion_ids[0])] for pair, row in zip(some, expected, strict=True)]
        rejected = [row[len(pair.completion_ids[0]) :] for pair, row in zip(some, expected, strict=True)]
        assert torch.equal(found, torch.tensor(np.concatenate(chosen + rejected)))


def test_tokens_that_do_not_count_have_no_values(tmp_path):
    policy = policy_of()
    some = [
        pair._replace(scored=[[n % 2 == 0 for n in range(len(ids))] for ids in pair.completion_ids]) for pair in PAIRS
    ]
    table = fill(reference := bound(policy, tmp_path), some)
    brute = brute_values(policy, PAIRS)
    for pair, row, every in zip(some, values(table, some), brute, strict=True):
        assert np.allclose(row, every[[*chain(*pair.scored)]], atol=1e-5)
    chosen = [row[: sum(pair.scored[0])] for pair, row in zip(some, values(table, some), strict=True)]
    rejected = [row[sum(pair.scored[0]) :] for pair, row in zip(some, values(table, some), strict=True)]
    found = reference.token_logps(reference.collate(collate_tree)(some))
    assert torch.equal(found, torch.tensor(np.concatenate(chosen + rejected)))


@pytest.mark.parametrize("change", [lambda row: row[:-1], lambda row: np.append(row, -1)], ids=["shorter", "longer"])
def test_a_row_that_has_not_one_value_for_each_token_is_refused(change):
    with pytest.raises(RunError, match=rf"for the \d+ tokens of pair {PAIRS[1].row}: somebody has edited it"):
        pack(collate_padded(PAIRS[:2]), PAIRS[:2], [ROWS[0], change(ROWS[1])])


def test_batches_without_values(tmp_path):
    reference = bound(policy_of(), tmp_path)
    with pytest.raises(InputError, match="the batch brings no values: make it with the collate function"):
        reference.token_logps(collate_tree(PAIRS[:2]))
    with pytest.raises(InputError, match="a batch is asked for before the Trainer has scored its pairs"):
        reference.collate(collate_tree)(PAIRS[:2])
