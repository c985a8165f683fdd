"""What is exported, and where to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM

from dpo_lightning.errors import InputError
from dpo_lightning.policy.adapters import merge_adapter
from dpo_lightning.policy.export import ExportForm, _restore_fields, check_target, export_problem, write_model
from dpo_lightning.policy.lora import LoRA
from dpo_lightning.policy.prepare import PolicyOptions, build_policy
from tests.helpers.tiny import tiny_llama, tiny_tokenizer
from tests.policy.common import TOKENS, logits


def adapted() -> nn.Module:
    """With an adapter that changes what the model says."""
    return build_policy(tiny_llama(), torch.float64, PolicyOptions(lora=LoRA(r=2, init_lora_weights=False)))


def test_fields_inside_a_nested_config_are_given_back():
    original = {"use_cache": True, "text_config": {"use_cache": True, "attention_dropout": 0.1, "hidden_size": 8}}
    config = {"use_cache": False, "text_config": {"use_cache": False, "attention_dropout": 0.0, "hidden_size": 9}}
    _restore_fields(config, original)
    assert config == {"use_cache": True, "text_config": {**original["text_config"], "hidden_size": 9}}


@pytest.mark.parametrize("found", [None, [], ["config.json", "notes.txt"], ["adapter_config.json"]], ids=str)
def test_a_model_or_nothing_may_be_replaced(tmp_path: Path, found: list[str] | None) -> None:
    if found is not None:
        (tmp_path / "out").mkdir()
    for name in found or []:
        (tmp_path / "out" / name).touch()

    check_target(str(tmp_path / "out"))


def test_anything_else_may_not(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()

    with pytest.raises(InputError, match="there is a directory that holds no model: give another path, or empty it"):
        check_target(str(tmp_path))


def test_a_merged_copy_says_the_same_and_leaves_the_adapter() -> None:
    policy = adapted().eval()
    expected = logits(policy, TOKENS)

    merged = merge_adapter(policy)

    torch.testing.assert_close(logits(merged, TOKENS), expected, rtol=1e-9, atol=1e-9)
    assert not any("lora_" in name for name, _ in merged.named_parameters())
    assert any("lora_" in name for name, _ in policy.named_parameters())
    assert (logits(tiny_llama().eval(), TOKENS) - expected).abs().max() > 0.1


def test_a_written_model_has_its_own_dropout_and_its_tokenizer(tmp_path: Path) -> None:
    model = tiny_llama(attention_dropout=0.5)
    original = model.config.to_dict()
    model.config.attention_dropout, model.config.use_cache = 0.0, False

    write_model(model, original, tiny_tokenizer(), str(tmp_path / "out"))

    written = json.loads((tmp_path / "out/config.json").read_text(encoding="utf-8"))
    assert (written["attention_dropout"], written["use_cache"]) == (0.5, True)
    assert (tmp_path / "out/tokenizer.json").exists()
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert torch.equal(logits(loaded, TOKENS), logits(model.eval(), TOKENS))


@pytest.mark.parametrize("merged", [False, True])
def test_an_adapter_that_repeats_layers_is_not_exported(merged: bool) -> None:
    config = LoraConfig(r=2, layer_replication=[(0, 1), (0, 2)], target_modules=["q_proj"], task_type="CAUSAL_LM")
    policy = get_peft_model(tiny_llama(), config)

    assert "layer_replication" in str(export_problem(policy, ExportForm(merged=merged), None))
