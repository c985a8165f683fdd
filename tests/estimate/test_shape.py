"""Sizes of a model from its config: against the model's weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from dpo_lightning.errors import InputError
from dpo_lightning.estimate import Numerics, memory, model_shape, shape_of
from dpo_lightning.policy.lora import LoRA
from dpo_lightning.policy.prepare import PolicyOptions, build_policy


def test_the_shape_of_a_model_is_that_of_its_weights(llama):
    model = AutoModelForCausalLM.from_pretrained(llama)
    shape = model_shape(llama, PolicyOptions())
    count = sum(parameter.numel() for parameter in model.parameters())
    assert (shape.parameters, shape.trainable) == (count, count)
    assert shape.layer_parameters == sum(p.numel() for p in model.model.layers.parameters())
    assert (shape.layers, shape.hidden, shape.heads, shape.groups, shape.inner) == (2, 32, 32, 16, 48)
    assert shape.gated
    assert shape.full
    assert shape.head_trained
    assert shape.active_parameters == shape.layer_parameters


def test_adapters_are_what_is_trained(llama):
    shape = model_shape(llama, PolicyOptions(lora=LoRA(r=3)))
    matrices = [(32, 32), (32, 16), (32, 16), (32, 32), (32, 48), (32, 48), (48, 32)]
    assert shape.trainable == 2 * sum(3 * (inputs + outputs) for inputs, outputs in matrices)
    assert shape.rank == 3
    assert not shape.full
    assert not shape.head_trained


def test_quantized_matrices_are_counted_without_adapters_and_head(llama):
    shape = model_shape(llama, PolicyOptions(lora=LoRA(r=3), quantization_config={"load_in_4bit": True}))
    assert shape.quantized == 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48)
    numerics = Numerics.of("bf16-true", 0.5)
    assert memory.weight_bytes(shape, numerics) == 2 * (shape.parameters - shape.quantized) + shape.quantized / 2


def _config(folder: Path, architecture: str, **sizes: object) -> str:
    AutoConfig.for_model(architecture, **sizes).save_pretrained(folder)
    return str(folder)


def test_a_token_visits_some_of_the_experts(tmp_path):
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    sizes |= {"vocab_size": 64, "intermediate_size": 48, "num_local_experts": 8, "num_experts_per_tok": 2}
    shape = model_shape(_config(tmp_path, "mixtral", **sizes), PolicyOptions())
    experts = 2 * 8 * 3 * 32 * 48
    assert shape.layer_parameters - shape.active_parameters == experts * 6 // 8
    assert shape.inner == 2 * 48


def test_a_model_without_a_gate(tmp_path):
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 64, "bos_token_id": 1, "eos_token_id": 1}
    shape = model_shape(_config(tmp_path, "gpt2", **sizes), PolicyOptions())
    assert (shape.gated, shape.inner, shape.groups) == (False, 128, 32)


def test_a_model_without_layers_is_refused(tmp_path, monkeypatch):
    name = _config(tmp_path, "gpt2", n_embd=32, n_layer=3, n_head=4, vocab_size=64, bos_token_id=1, eos_token_id=1)
    monkeypatch.setattr("dpo_lightning.estimate.shape.nn.ModuleList", tuple)
    with pytest.raises(InputError, match="has no list of 3 decoder layers: give a decoder-only model"):
        model_shape(name, PolicyOptions())


@pytest.mark.parametrize("lora", [None, LoRA(r=3)], ids=["full", "lora"])
def test_a_policy_that_is_built_has_the_shape_of_its_config(llama, lora):
    options = PolicyOptions(lora=lora)
    policy = build_policy(AutoModelForCausalLM.from_pretrained(llama), torch.float32, options)
    assert shape_of(policy) == model_shape(llama, options)


def test_what_is_no_decoder_or_packed_has_no_shape(llama):
    assert shape_of(torch.nn.Linear(2, 2)) is None
    model = AutoModelForCausalLM.from_pretrained(llama)
    model.config.quantization_config = {"load_in_4bit": True}
    assert shape_of(model) is None
    model = AutoModelForCausalLM.from_pretrained(llama)
    model.config.num_hidden_layers = 5
    assert shape_of(model) is None
