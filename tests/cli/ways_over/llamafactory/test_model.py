"""The model of LLaMA-Factory's configs as ours."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.errors import InputError
from tests.cli.ways_over.made import config, llama_factory, told


def model(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = config(llama_factory(**changes))["model"]
    return found


def test_adapters() -> None:
    assert model()["lora"] == {"r": 8, "alpha": 16.0, "dropout": 0.0, "target_modules": "all-linear"}
    found = model(lora_target="q_proj, v_proj", additional_target="embed_tokens", lora_alpha=4, use_dora=True)["lora"]
    assert found["target_modules"] == ["q_proj", "v_proj"]
    assert (found["modules_to_save"], found["alpha"], found["use_dora"]) == (["embed_tokens"], 4.0, True)
    assert "lora_dropout" in told(llama_factory(lora_dropout=0.1))


def test_all_weights() -> None:
    draft = llama_factory(finetuning_type="full", lora_rank=4)
    assert "lora" not in config(draft)["model"]
    assert told(draft)["lora_rank"] == "all weights are trained"


def test_going_on_with_an_adapter_compares_with_the_base() -> None:
    found = model(adapter_name_or_path="adapter")
    assert found["policy"] == "adapter"
    assert found["reference"] == {"class_path": "AdapterOff"}
    assert found["step_zero_check"] is False
    assert "lora" not in found


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"finetuning_type": "freeze"}, "finetuning_type"),
        ({"finetuning_type": "oft"}, "finetuning_type"),
        ({"adapter_name_or_path": "a,b"}, "merge all but the last"),
        ({"quantization_bit": 3}, "quantization_bit"),
        ({"quantization_bit": 4, "quantization_method": "hqq"}, "quantization_method"),
    ],
)
def test_what_has_no_equal_is_refused(changes: dict[str, Any], name: str) -> None:
    with pytest.raises(InputError, match=name):
        llama_factory(**changes)


def test_quantisation() -> None:
    found = model(quantization_bit=4, bf16=True, double_quantization=False)["quantization_config"]
    assert found == {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": False,
        "bnb_4bit_compute_dtype": "bfloat16",
    }
    assert model(quantization_bit=8)["quantization_config"] == {"load_in_8bit": True}
    assert told(llama_factory(quantization_type="fp4"))["quantization_type"] == "quantization_bit is not set"


@pytest.mark.parametrize(
    ("changes", "precision"),
    [({}, "32-true"), ({"bf16": True}, "bf16-mixed"), ({"fp16": True}, "16-mixed"), ({"pure_bf16": True}, "bf16-true")],
)
def test_precision(changes: dict[str, Any], precision: str) -> None:
    assert config(llama_factory(**changes))["trainer"]["precision"] == precision


def test_checkpointing_is_on_unless_disabled() -> None:
    assert model()["gradient_checkpointing"] is True
    assert model(disable_gradient_checkpointing=True)["gradient_checkpointing"] is False


def test_what_it_is_loaded_with() -> None:
    found = model(trust_remote_code=True, model_revision="v2", cache_dir="c")["model_kwargs"]
    assert found == {"trust_remote_code": True, "revision": "v2", "cache_dir": "c"}
