"""Parts that a text never comes to: a vision tower, and layers that look at it, are neither trained nor adapted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, MllamaConfig, MllamaForConditionalGeneration

from dpo_lightning import LoRA
from dpo_lightning.batch import collate_padded
from dpo_lightning.policy.beside_text import other_parts
from dpo_lightning.policy.prepare import PolicyOptions, build_policy
from tests.helpers.runs import module
from tests.helpers.tiny import PAIRS, tiny_llama
from tests.policy.test_experts import mixture
from tests.policy.test_modality import MULTIMODAL, TEXT, VISION, gpt2, llava


def mllama() -> nn.Module:
    rope = {"rope_type": "default", "rope_theta": 1e4}
    text = {**TEXT, "cross_attention_layers": [1], "rope_parameters": rope, "pad_token_id": 0}
    text |= {"rope_scaling": rope, "rope_theta": 1e4}  # as transformers 4 calls them
    vision = {**VISION, "vision_output_dim": 32, "attention_heads": 4, "num_global_layers": 1}
    vision |= {"intermediate_layers_indices": [0], "supported_aspect_ratios": [[1, 1]]}
    return MllamaForConditionalGeneration(MllamaConfig(text_config=text, vision_config=vision))


@pytest.mark.parametrize("make", [*MULTIMODAL, mllama])
@pytest.mark.parametrize(
    "lora", [None, LoRA(r=2), LoRA(r=2, exclude_modules=["o_proj"]), LoRA(r=2, exclude_modules=r".*\.o_proj")]
)
def test_every_trained_parameter_of_a_multimodal_model_has_a_gradient(make: Any, lora: LoRA | None) -> None:
    run = module(make(), lora=lora)
    run.configure_model()
    trained = {name: each for name, each in run.policy.named_parameters() if each.requires_grad}

    run.objective(run.score(collate_padded(PAIRS))).sum().backward()  # type: ignore[operator]

    assert len(trained) >= (10 if make is mllama else 20)  # of two layers, one looks at images
    assert [name for name, each in trained.items() if each.grad is None] == []
    if lora is not None and lora.exclude_modules is not None:
        assert not any("o_proj" in name for name in trained)


def test_the_parts_beside_the_language_model_are_named(caplog: pytest.LogCaptureFixture) -> None:
    policy = build_policy(llava(), torch.float32, PolicyOptions())

    assert other_parts(policy).modules.keys() == {"model.vision_tower", "model.multi_modal_projector"}
    assert "weights outside the language model are frozen" in caplog.text
    for model in (tiny_llama(), gpt2(), nn.Linear(2, 2)):
        assert other_parts(model) == ({}, {})


@pytest.mark.parametrize("lora", [None, LoRA(r=2, target_modules="all-linear")])
def test_the_cross_attention_of_a_decoder_alone_is_left_out(
    lora: LoRA | None, caplog: pytest.LogCaptureFixture
) -> None:
    config = GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, add_cross_attention=True)
    policy = build_policy(GPT2LMHeadModel(config), torch.float32, PolicyOptions(lora=lora))
    trained = {name: each for name, each in policy.named_parameters() if each.requires_grad}

    policy(input_ids=torch.tensor([[3, 4, 5]])).logits.sum().backward()

    assert trained
    assert [name for name, each in trained.items() if each.grad is None] == []
    assert "transformer.h.0.crossattention, transformer.h.0.ln_cross_attn, transformer.h.1" in caplog.text


def test_experts_and_heads_of_ones_own_stay() -> None:
    policy: Any = mixture()
    policy.value_head = nn.Linear(32, 1)
    build_policy(policy, torch.float32, PolicyOptions())

    assert all(each.requires_grad for each in policy.parameters())
