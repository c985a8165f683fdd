"""A hash of weights: the same wherever they come from, another one when anything differs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from dpo_lightning.policy.lora import LoRA, add_lora
from dpo_lightning.policy.narrow_base import hold_narrow
from dpo_lightning.reference.cache.weights import weights_hash
from tests.helpers.tiny import tiny_llama
from tests.reference.common import policy_of


def test_hashes_are_the_same_wherever_they_come_from(tmp_path):
    tiny_llama().save_pretrained(tmp_path)
    expected = weights_hash(tiny_llama())
    assert weights_hash(type(tiny_llama()).from_pretrained(tmp_path)) == expected
    assert weights_hash(policy_of(tiny_llama(attention_dropout=0.1))) == expected
    assert weights_hash(tiny_llama().eval().requires_grad_(False)) == expected


@pytest.mark.parametrize("lora", [{"target_modules": "all-linear"}, {"target_modules": ["q_proj", "embed_tokens"]}])
def test_the_hash_under_an_adapter_is_that_of_the_base(lora):
    adapted = get_peft_model(tiny_llama(), LoraConfig(r=2, init_lora_weights=False, **lora))
    assert weights_hash(adapted, adapters=False) == weights_hash(tiny_llama())
    assert weights_hash(adapted) != weights_hash(tiny_llama())


def test_hashes_are_others_when_anything_differs():
    def nudged() -> Any:
        model = tiny_llama()
        with torch.no_grad():
            model.model.layers[1].mlp.up_proj.weight[3, 5] += 1e-6
        return model

    def swapped() -> Any:
        model = tiny_llama()
        one, other = (layer.mlp.up_proj.weight for layer in model.model.layers)
        one.data, other.data = other.data, one.data
        return model

    def adapted(**settings: Any) -> Any:
        torch.manual_seed(0)
        return get_peft_model(tiny_llama(), LoraConfig(r=2, target_modules=["q_proj"], **settings))

    models = [
        tiny_llama(),
        nudged(),
        swapped(),
        tiny_llama().bfloat16(),
        tiny_llama(rms_norm_eps=1e-3),
        adapted(lora_alpha=4),
        adapted(lora_alpha=8),
    ]
    assert len({weights_hash(model) for model in models}) == len(models)


def test_hashes_of_a_base_that_is_held_narrow_are_those_of_its_values():
    base, other = (tiny_llama().bfloat16().float() for _ in range(2))
    adapted = add_lora(base, LoRA(r=2))
    before = weights_hash(adapted)
    assert hold_narrow(adapted, "bf16-mixed")
    assert weights_hash(adapted) == before
    assert weights_hash(adapted, adapters=False) == weights_hash(other)
