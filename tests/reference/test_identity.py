"""What a run began with."""

from __future__ import annotations

import torch

from dpo_lightning import AdapterOff, FrozenAdapter, FrozenCopy, LoRA, Precomputed
from dpo_lightning.policy.samples import samples_in
from tests.helpers.runs import module
from tests.helpers.tiny import tiny_llama


def identity(**settings):
    model = module(**settings)
    model.configure_model()
    return model.identity


def test_a_whole_policy_and_its_copy():
    found = identity()
    assert found.settings == FrozenCopy()
    assert found.policy["weights"]["names"] == found.reference["weights"]["names"]
    assert (found.policy["adapters"], found.policy["dtype"], found.policy["device"]) == ({}, "float32", "cpu")


def test_new_adapters_are_left_out_and_their_settings_are_there():
    found = identity(lora=LoRA(r=3, alpha=6))
    assert found.settings == AdapterOff()
    assert found.reference["weights"]["names"] == []
    assert not any("lora" in name for name in found.policy["weights"]["names"])
    assert (found.policy["adapters"]["default"]["r"], found.policy["adapters"]["default"]["lora_alpha"]) == (3, 6)


def test_a_copy_of_the_adapter_is_the_references():
    found = identity(lora=LoRA(r=2), reference=FrozenAdapter())
    assert found.reference["weights"]["names"]
    assert all(".reference." in name for name in found.reference["weights"]["names"])
    assert list(found.policy["adapters"]) == ["default"]


def test_a_copy_of_a_new_adapter_is_the_same_whatever_it_was_drawn_with():
    found = []
    for seed in range(2):
        model = module(lora=LoRA(r=2), reference=FrozenAdapter())
        torch.manual_seed(seed)
        model.configure_model()
        found.append(model.identity.reference["weights"]["bytes"])
    assert torch.equal(*found)


def test_a_cache_has_the_weights_of_its_source_and_their_hash(tmp_path):
    cached = identity(reference=Precomputed(cache_dir=str(tmp_path)))
    plain = identity()
    assert cached.reference["hash"]
    assert torch.equal(cached.reference["weights"]["bytes"], plain.reference["weights"]["bytes"])
    assert identity(lora=LoRA(r=2), reference=Precomputed(str(tmp_path))).reference["weights"]["names"] == []


def test_it_is_of_the_start():
    model = module(reference=tiny_llama(seed=4))
    model.configure_model()
    before = samples_in(model.identity.policy["weights"])
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.add_(1)
    assert all(
        torch.equal(one.values, samples_in(model.identity.policy["weights"])[name].values)
        for name, one in before.items()
    )
