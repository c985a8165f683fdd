"""Adapters that a policy comes with: which are taken, and how they become part of the weights."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, PrefixTuningConfig, PromptTuningConfig, get_peft_model, inject_adapter_in_model
from torch import nn
from transformers import AutoModelForCausalLM

from dpo_lightning.errors import InputError
from dpo_lightning.policy.adapters import check_adapters, cpu_copy, merge_adapter, merge_problem, merged_start
from dpo_lightning.policy.prepare import PolicyOptions, build_policy
from tests.helpers.tiny import tiny_llama
from tests.policy.common import TOKENS, logits


def config(**settings: Any) -> LoraConfig:
    return LoraConfig(**{"r": 4, "task_type": "CAUSAL_LM", "target_modules": "all-linear", **settings})


def changed(tied: bool = False, name: str = "default", **settings: Any) -> PeftModel:
    """A model with an adapter that changes what it says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tied weights, which is what is tried
        policy = get_peft_model(tiny_llama(tie_word_embeddings=tied), config(**settings), adapter_name=name)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return policy.eval()


def of_transformers() -> nn.Module:
    model = tiny_llama()
    model.add_adapter(config(), "sft")
    return model


def two_active() -> nn.Module:
    policy = get_peft_model(tiny_llama(), config(), adapter_name="one")
    policy.add_adapter("two", config())
    policy.base_model.set_adapter(["one", "two"])
    return policy


def switched_off() -> nn.Module:
    policy = get_peft_model(tiny_llama(), config())
    policy.base_model.disable_adapter_layers()
    return policy


def merged() -> nn.Module:
    policy = get_peft_model(tiny_llama(), config())
    policy.merge_adapter()
    return policy


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (of_transformers, "carries adapters that are not inside a PeftModel"),
        (lambda: inject_adapter_in_model(config(), tiny_llama()), "carries adapters that are not inside a PeftModel"),
        (lambda: get_peft_model(tiny_llama(), config(), mixed=True), "carries adapters that are not inside"),
        (two_active, "the adapters one, two are active, and one can be trained"),
        (switched_off, "its adapter is switched off in 14 layers"),
        (merged, "its adapter is merged in 14 layers"),
    ],
)
def test_adapters_that_would_be_taken_for_something_else_are_refused(policy: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^policy: .*{message}"):
        check_adapters(policy())


def test_one_active_adapter_of_any_name_is_taken() -> None:
    policy = get_peft_model(tiny_llama(), config(), adapter_name="sft")
    policy.add_adapter("other", config())
    check_adapters(policy)
    check_adapters(tiny_llama())
    check_adapters(nn.Linear(2, 2))


def test_what_cannot_be_merged_says_why() -> None:
    policy = changed()
    assert merge_problem(policy) is None
    assert "no adapter to merge" in str(merge_problem(tiny_llama()))
    prompts = get_peft_model(tiny_llama(), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    assert "of the kind PROMPT_TUNING is no part of the weights" in str(merge_problem(prompts))

    policy.is_quantized = True
    assert "4-bit weights loses precision" in str(merge_problem(policy))


@pytest.mark.parametrize(
    ("settings", "why"),
    [({"lora_bias": True}, "Impossible to merge"), ({"alora_invocation_tokens": [5]}, "aLoRA does not support")],
)
def test_what_peft_cannot_merge_is_tried_before_training(settings: dict[str, Any], why: str) -> None:
    adapter = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", **settings)
    policy = get_peft_model(tiny_llama(), adapter)
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    problem = str(merge_problem(policy))
    assert why in problem
    assert problem.endswith("; export the adapter alone")
    assert all(torch.equal(value, before[name]) for name, value in policy.state_dict().items())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": ["embed_tokens", "lm_head"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
        {"target_modules": ["q_proj"], "trainable_token_indices": [3, 5]},
        {"use_dora": True},
        {"target_modules": ["q_proj", "lm_head"], "use_dora": True},
    ],
    ids=str,
)
def test_merged_weights_say_the_same_in_memory_and_loaded(tmp_path, settings, tied) -> None:
    policy = changed(tied, **settings)
    expected = logits(policy, TOKENS)

    found = merge_adapter(policy).eval()
    found.save_pretrained(tmp_path / "out")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()

    torch.testing.assert_close(logits(found, TOKENS), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits(loaded, TOKENS), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(logits(policy, TOKENS), expected)  # a copy was merged
    assert (logits(tiny_llama(tie_word_embeddings=tied).eval(), TOKENS) - expected).abs().max() > 0.1


@pytest.mark.parametrize(("target", "stays"), [("q_proj", True), ("lm_head", False)])
def test_embedding_and_head_part_only_where_they_differ(target: str, stays: bool) -> None:
    found: Any = merge_adapter(changed(True, target_modules=[target]))

    assert found.config.tie_word_embeddings is stays
    assert (found.lm_head.weight is found.model.embed_tokens.weight) is stays


def test_a_merged_start_is_the_policy_and_has_no_name() -> None:
    policy = changed()
    policy.get_base_model().name_or_path = "some/base"
    expected = logits(policy, TOKENS)

    start: Any = merged_start(policy)

    torch.testing.assert_close(logits(start, TOKENS), expected, rtol=1e-4, atol=1e-4)
    assert start.name_or_path == ""
    assert not hasattr(start, "peft_config")


def test_a_start_that_cannot_be_merged_is_refused() -> None:
    policy = changed()
    policy.is_quantized = True
    with pytest.raises(InputError, match="over which new ones need it merged, and merging into 4-bit weights loses"):
        merged_start(policy)


def test_a_copy_shares_nothing_and_keeps_what_is_tied() -> None:
    model: Any = tiny_llama(tie_word_embeddings=True)
    copied: Any = cpu_copy(model)
    assert copied.lm_head.weight is copied.model.embed_tokens.weight
    assert not {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in copied.parameters()}


def test_a_prefix_of_keys_and_values_is_not_recomputed() -> None:
    policy = get_peft_model(tiny_llama(), PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    with pytest.raises(InputError, match=r"^gradient_checkpointing: a recomputed layer loses the keys"):
        build_policy(policy, torch.float32, PolicyOptions(gradient_checkpointing=True))
