"""Keys of rows: the same wherever the tokens come from, and others when they differ."""

from __future__ import annotations

import datasets

from dpo_lightning import TokenizedPair
from dpo_lightning.data.content_hash import index_pairs, index_rows, pair_key
from tests.reference.cache.filling import make_pairs

PAIRS = make_pairs(40)


def test_what_a_row_is_and_nothing_else():
    pair = TokenizedPair(0, [1, 2], [3, 4], [5])
    others = [
        pair._replace(prompt_ids=[1], chosen_ids=[2, 3, 4]),
        pair._replace(chosen_ids=[3], rejected_ids=[4, 5]),
        pair._replace(chosen_ids=[5], rejected_ids=[3, 4]),
        pair._replace(prompt_ids=[2, 1]),
    ]
    assert pair_key(pair) == pair_key(pair._replace(pair_id=7))
    assert len({pair_key(other) for other in [pair, *others]}) == 5


def test_the_keys_of_a_dataset_are_those_of_its_pairs():
    columns = {name: [getattr(pair, name) for pair in PAIRS] for name in TokenizedPair._fields[1:]}
    features = datasets.Features({name: datasets.List(datasets.Value("int32")) for name in columns})
    table = datasets.Dataset.from_dict(columns, features=features)
    for order in (range(len(PAIRS)), [5, 3, 30, 4], []):
        found = index_rows(table.select(order))
        expected = index_pairs([PAIRS[row] for row in order])
        assert found.keys.tolist() == expected.keys.tolist()
        assert found.lengths.tolist() == expected.lengths.tolist()
