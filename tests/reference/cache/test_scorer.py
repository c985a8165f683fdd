"""Batches within a budget, in the layout that fits, with values that are numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dpo_lightning.errors import RunError
from dpo_lightning.logprobs import TokenScorer
from dpo_lightning.policy.prepare import PolicyOptions, build_policy
from dpo_lightning.reference.cache import scorer
from tests.helpers.tiny import tiny_llama
from tests.reference.cache.filling import bound, brute_values, fill, largest_difference, make_pairs, shards, values
from tests.reference.common import policy_of

PAIRS = make_pairs(30)


def test_dropout_is_off_while_scoring_and_on_again_afterwards(tmp_path):
    source = tiny_llama(attention_dropout=0.5)
    policy = build_policy(source, torch.float32, PolicyOptions(dropout=True))
    table = fill(bound(policy, tmp_path), PAIRS)
    assert all(part.training for part in policy.modules())
    assert largest_difference(values(table, PAIRS), brute_values(tiny_llama().eval(), PAIRS)) < 1e-5


def test_a_model_that_no_tree_fits_is_scored_padded(tmp_path, monkeypatch):
    monkeypatch.setattr(TokenScorer, "tree_problem", lambda self: "not this one")
    monkeypatch.setattr(scorer, "collate_tree", None)

    table = fill(bound(policy_of(), tmp_path), PAIRS)

    assert largest_difference(values(table, PAIRS), brute_values(tiny_llama().eval(), PAIRS)) < 1e-5


def test_a_value_that_is_no_number_is_not_kept(tmp_path):
    policy = tiny_llama()
    policy.get_input_embeddings().weight.data[PAIRS[9].completion_ids[0][0]] = torch.nan
    with pytest.raises(RunError, match=r"a log-prob of pair \d+ is no finite number"):
        fill(bound(policy_of(policy), tmp_path), PAIRS)
    assert shards(tmp_path) == []


@pytest.mark.parametrize("is_tree", [True, False])
def test_batches_keep_to_their_budget(tmp_path, monkeypatch, is_tree):
    if not is_tree:
        monkeypatch.setattr(TokenScorer, "tree_problem", lambda self: "not this one")
    name = "collate_tree" if is_tree else "collate_padded"
    sizes, collate = [], getattr(scorer, name)

    def watched(pairs: Any) -> Any:
        batch = collate(pairs)
        sizes.append((batch.input_ids.numel(), len(pairs)))
        return batch

    monkeypatch.setattr(scorer, name, watched)
    fill(bound(policy_of(), tmp_path, batch_tokens=60), PAIRS)

    assert sum(pairs for _, pairs in sizes) == len(PAIRS)
    assert max(tokens for tokens, _ in sizes) <= 60
    # Filled: two batches that follow each other would not fit into one.
    assert len(sizes) <= 2 * sum(tokens for tokens, _ in sizes) / 60 + 1


def test_a_pair_larger_than_the_budget_is_scored_alone(tmp_path, forwards):
    fill(bound(policy_of(), tmp_path, batch_tokens=1), PAIRS[:5])
    assert forwards == [1] * 5
