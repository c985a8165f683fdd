"""The model of axolotl's configs as ours."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.errors import InputError
from tests.cli.ways_over.made import axolotl, config, told

LORA = {"adapter": "lora", "lora_r": 8, "lora_alpha": 16, "lora_target_linear": True}


def test_adapters() -> None:
    found = config(axolotl(**LORA, lora_dropout=0.1, lora_target_modules=["q_proj"], peft_use_dora=True))["model"][
        "lora"
    ]
    assert found == {"r": 8, "alpha": 16, "dropout": 0.0, "target_modules": "all-linear", "use_dora": True}


def test_adapters_are_left_out_where_there_is_none() -> None:
    draft = axolotl(lora_r=8, lora_target_linear=True)
    assert "lora" not in config(draft)["model"]
    assert told(draft)["lora_r"] == "adapter is not set: all weights are trained"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"adapter": "llama-adapter"}, "adapter"),
        ({"adapter": "lora", "lora_r": 8, "lora_target_linear": True}, "lora_alpha"),
        ({"adapter": "lora", "lora_r": 8, "lora_alpha": 8}, "lora_target_modules"),
        ({"load_in_4bit": True}, "load_in_4bit"),
        ({**LORA, "load_in_4bit": True}, "load_in_4bit"),
        ({"gradient_checkpointing": "disk"}, "gradient_checkpointing"),
        ({"special_tokens": {"additional_special_tokens": ["<|x|>"]}}, "special_tokens.additional_special_tokens"),
    ],
)
def test_what_has_no_equal_is_refused(changes: dict[str, Any], name: str) -> None:
    with pytest.raises(InputError, match=name):
        axolotl(**changes)


def test_the_base_of_qlora_is_quantised_as_axolotl_does() -> None:
    found = config(axolotl(**{**LORA, "adapter": "qlora", "load_in_4bit": True}))["model"]["quantization_config"]
    assert found == {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": "bfloat16",
    }


@pytest.mark.parametrize(
    ("changes", "precision"),
    [
        ({}, "bf16-true"),
        ({"bf16": True, **LORA}, "bf16-mixed"),
        ({"bf16": False}, "32-true"),
        ({"bf16": False, "fp16": True, **LORA}, "16-mixed"),
        ({"bf16": "auto", "fp16": True}, "16-mixed"),
        ({"bf16": "full"}, "bf16-true"),
        ({"bf16": False, "bfloat16": True}, "bf16-true"),
    ],
)
def test_precision(changes: dict[str, Any], precision: str) -> None:
    assert config(axolotl(**changes))["trainer"]["precision"] == precision


def test_the_model_and_what_it_is_loaded_with() -> None:
    draft = axolotl(model_revision="abc", trust_remote_code=True, model_kwargs={"x": 1}, tokenizer_config="tok")
    found = config(draft)
    assert found["model"]["policy"] == "model"
    assert found["model"]["model_kwargs"] == {"revision": "abc", "trust_remote_code": True, "x": 1}
    assert found["data"]["tokenizer"] == "tok"


def test_tokens_of_the_tokenizer_are_told() -> None:
    said = told(axolotl(special_tokens={"eos_token": "<|eot|>", "pad_token": "<pad>", "unk_token": None}))
    assert "the tokenizer's own stays here" in said["special_tokens.eos_token"]
    assert "padding is never scored" in said["special_tokens.pad_token"]
    assert "special_tokens.unk_token" not in said


@pytest.mark.parametrize(
    ("value", "ours"), [(True, True), (False, False), ("offload", "offload"), ("offload_disk", "offload")]
)
def test_checkpointing(value: Any, ours: Any) -> None:
    assert config(axolotl(gradient_checkpointing=value))["model"]["gradient_checkpointing"] == ours
