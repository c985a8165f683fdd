"""The share of a model that its adapters cover, and the experts that none covers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import JetMoeConfig, JetMoeForCausalLM

from dpo_lightning.errors import InputError
from dpo_lightning.policy.coverage import coverage
from dpo_lightning.policy.lora import LoRA, add_lora
from tests.helpers.tiny import tiny_llama
from tests.policy.test_experts import SIZES, mixture


def sizes(model: torch.nn.Module, *ends: str) -> int:
    return sum(each.numel() for name, each in model.named_parameters() if name.endswith(ends))


def test_the_weights_of_adapted_layers_are_covered() -> None:
    whole = sum(each.numel() for each in tiny_llama().parameters())
    covered = sizes(tiny_llama(), "q_proj.weight", "v_proj.weight")

    found = coverage(add_lora(tiny_llama(), LoRA(r=2, target_modules=["q_proj", "v_proj"])))

    assert found == (covered, whole, [], 0, False)
    assert str(found) == f"lora: the adapters cover {covered / whole:.1%} of the model's {whole:,} weights"


def test_whole_modules_and_rows_of_an_embedding_are_covered() -> None:
    base = tiny_llama()
    lora = LoRA(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"], trainable_token_indices=[3, 5])

    found = coverage(add_lora(tiny_llama(), lora))

    assert found.covered == sizes(base, "q_proj.weight", "lm_head.weight") + 2 * base.config.hidden_size
    assert found.weights == sum(each.numel() for each in base.parameters())


def test_experts_that_no_adapter_covers_are_named() -> None:
    base = mixture("gpt_oss")
    found = coverage(add_lora(mixture("gpt_oss"), LoRA(r=2, target_modules=["q_proj"])))

    names = ["model.layers.*.mlp.experts.gate_up_proj", "model.layers.*.mlp.experts.down_proj"]
    assert set(names) < set(found.bare_experts)
    assert found.expert_weights == sum(each.numel() for name, each in base.named_parameters() if ".experts." in name)
    assert f"none of its experts: {', '.join(found.bare_experts)}" in str(found)


def test_experts_as_target_parameters_are_covered() -> None:
    ends = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]

    found = coverage(add_lora(mixture("qwen3_moe"), LoRA(r=2, target_modules=[], target_parameters=ends)))

    assert found.bare_experts == []
    assert found.covered == sizes(mixture("qwen3_moe"), *ends)


def test_experts_of_which_some_weights_are_covered_are_not_none() -> None:
    found = coverage(add_lora(mixture(), LoRA(r=2, target_modules=[], target_parameters=["experts.down_proj"])))

    assert found.bare_experts == ["model.layers.*.mlp.experts.gate_up_proj"]
    assert "and not all of its experts: model.layers.*.mlp.experts.gate_up_proj (" in str(found)


def test_experts_by_another_name_and_their_router() -> None:
    torch.manual_seed(0)
    config = JetMoeConfig(**SIZES, num_local_experts=4, kv_channels=8)
    found = coverage(add_lora(JetMoeForCausalLM(config), LoRA(r=2, target_modules=["kv_proj"])))

    assert "model.layers.*.mlp.input_linear.weight" in found.bare_experts
    assert not any("router" in name for name in found.bare_experts)


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        (
            mixture,
            {"target_parameters": ["mlp.nowhere"]},
            "target_parameters: the model has no parameter 'mlp.nowhere'",
        ),
        (mixture, {"exclude_modules": ["gate"]}, r"exclude_modules: model.layers.0.mlp.gate would be adapted neverth"),
        (mixture, {"exclude_modules": r".*\.mlp\.experts"}, r"exclude_modules: model.layers.0.mlp.experts would be"),
        (tiny_llama, {"trainable_token_indices": [999999]}, "trainable_token_indices: the model has no token 999999"),
        (tiny_llama, {"trainable_token_indices": {"embed_tokens": [-1]}}, "the model has no token -1"),
    ],
)
def test_what_peft_would_pass_over_is_refused(model: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        add_lora(model(), LoRA(r=2, **settings))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"modules_to_save": ["lm_head", "nope"]}, "lora.modules_to_save: the model has no module 'nope'"),
        ({"exclude_modules": ["q_proj", "nope"]}, "lora.exclude_modules: no module of the model is ['nope']"),
        ({"exclude_modules": "nope.*"}, "lora.exclude_modules: no module of the model is nope.*: leave it out"),
    ],
)
def test_a_name_that_no_module_has_is_refused(settings: Any, line: str) -> None:
    with pytest.raises(InputError) as refused:
        add_lora(tiny_llama(), LoRA(r=2, **settings))
    assert str(refused.value).startswith(line)
