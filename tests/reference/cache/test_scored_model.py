"""What is scored: the policy, the base under an adapter, a trained adapter, another checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
from peft import LoraConfig, get_peft_model
from torch import nn

from dpo_lightning import AdapterOff, FrozenCopy, LoRA, Precomputed
from dpo_lightning.errors import InputError
from dpo_lightning.reference import FrozenAdapter, NoReference
from tests.helpers.runs import saved_model
from tests.helpers.tiny import tiny_llama
from tests.reference.cache.filling import (
    bound,
    brute_values,
    fill,
    largest_difference,
    make_pairs,
    no_rebuild,
    shards,
    values,
)
from tests.reference.common import policy_of, train

PAIRS = make_pairs(30)


def trained_adapter() -> nn.Module:
    return get_peft_model(tiny_llama(), LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))


def test_values_of_the_policy_equal_brute_force(tmp_path):
    table = fill(bound(policy_of(), tmp_path), PAIRS)

    assert largest_difference(values(table, PAIRS), brute_values(tiny_llama().eval(), PAIRS)) < 1e-5
    assert values(table, PAIRS)[0].dtype == np.float32


def test_values_of_the_base_under_an_adapter(tmp_path):
    policy = policy_of(tiny_llama(), LoRA(r=2, init_lora_weights=False))
    reference = bound(policy, tmp_path, source=AdapterOff())
    train(policy)

    table = fill(reference, PAIRS)

    assert largest_difference(values(table, PAIRS), brute_values(tiny_llama().eval(), PAIRS)) < 1e-5


def test_values_of_a_trained_adapter(tmp_path):
    policy = policy_of(trained_adapter())
    expected = brute_values(policy.eval(), PAIRS)
    reference = bound(policy.train(), tmp_path, source=FrozenAdapter())
    train(policy)

    table = fill(reference, PAIRS)

    assert largest_difference(values(table, PAIRS), expected) < 1e-5
    assert largest_difference(brute_values(policy.eval(), PAIRS), expected) > 0.01


def test_values_of_another_checkpoint_which_is_freed(tmp_path):
    other = saved_model(tmp_path / "other", hidden_size=16)
    reference = bound(policy_of(), tmp_path / "cache", source=FrozenCopy(other))
    assert len(reference.own_models()) == 1

    table = fill(reference, PAIRS)

    expected = brute_values(tiny_llama(hidden_size=16).eval(), PAIRS)
    assert largest_difference(values(table, PAIRS), expected) < 1e-5
    assert reference.own_models() == []
    # What is missing later is scored by the same checkpoint, loaded once more.
    more = make_pairs(3, seed=5)
    assert (
        largest_difference(values(fill(reference, more), more), brute_values(tiny_llama(hidden_size=16).eval(), more))
        < 1e-5
    )


def test_no_copy_of_the_policy_is_made(tmp_path):
    policy = policy_of()
    reference = bound(policy, tmp_path)
    with reference.source.loaded(True, no_rebuild) as loaded:
        assert loaded is not None
        assert loaded.model is policy
    assert reference.own_models() == []


def test_full_and_lora_share_the_values_of_the_base(tmp_path):
    fill(bound(policy_of(tiny_llama()), tmp_path), PAIRS)
    before = shards(tmp_path)
    policy = policy_of(tiny_llama(), LoRA(r=2, modules_to_save=["lm_head"], target_modules=["q_proj"]))
    fill(bound(policy, tmp_path, source=AdapterOff()), PAIRS)
    assert shards(tmp_path) == before


def test_a_source_that_cannot_be_hashed(tmp_path):
    with pytest.raises(InputError, match="NoReference cannot be precomputed: use FrozenCopy"):
        Precomputed(str(tmp_path), source=NoReference()).bind(policy_of())


def test_a_trained_policy_whose_directory_has_changed_is_noticed(tmp_path):
    reference = bound(policy := policy_of(), tmp_path)
    train(policy)
    with pytest.raises(InputError, match="the policy loaded again is not the one that the run began with"):
        fill(reference, PAIRS, rebuild=lambda: policy_of(tiny_llama(seed=3)))
