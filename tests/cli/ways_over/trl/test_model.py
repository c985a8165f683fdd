"""The model: how it is loaded, its adapters, its bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from trl.trainer.utils import disable_dropout_in_model

from dpo_lightning.errors import InputError
from tests.helpers.tiny import tiny_llama
from tests.helpers.ways_over import at, of_trl, said


def test_a_model_is_loaded_as_there() -> None:
    draft = of_trl(
        model_revision="v1",
        trust_remote_code=True,
        attn_implementation="sdpa",
        model_init_kwargs={"use_cache": False, "device_map": None, "subfolder": "x"},
    )
    assert at(draft, "model.policy") == "m"
    assert at(draft, "model.model_kwargs") == {
        **{"revision": "v1", "trust_remote_code": True, "attn_implementation": "sdpa"},
        "subfolder": "x",
    }
    assert at(of_trl(model_revision="main"), "model.model_kwargs") is None


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"model_name_or_path": None}, "a run needs a model"),
        ({"model_init_kwargs": {"dtype": "bfloat16"}}, "set dtype alone"),
        ({"model_init_kwargs": {"quantization_config": {}}}, "set load_in_4bit"),
        ({"model_init_kwargs": {"token": "hf_x"}}, "set HF_TOKEN in the environment"),
        ({"lora_task_type": "SEQ_CLS"}, "lora_task_type SEQ_CLS"),
        ({"optim_target_modules": ["a"]}, "optim_target_modules"),
    ],
)
def test_what_no_policy_has_is_refused(fields: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line) as raised:
        of_trl(**fields)
    assert "hf_x" not in str(raised.value)


def test_adapters_are_those_of_there() -> None:
    draft = of_trl(
        use_peft=True,
        lora_r=8,
        lora_target_modules=["q_proj", "o_proj"],
        lora_modules_to_save="lm_head",
        lora_target_parameters=["experts.down_proj"],
        use_rslora=True,
    )
    assert at(draft, "model.lora") == {
        **{"r": 8, "alpha": 32.0, "dropout": 0.0, "target_modules": ["q_proj", "o_proj"], "use_rslora": True},
        **{"target_parameters": ["experts.down_proj"], "modules_to_save": ["lm_head"]},
    }
    assert at(of_trl(use_peft=True, lora_target_modules="all-linear"), "model.lora.target_modules") == "all-linear"
    assert "peft's choice" in said(of_trl(use_peft=True), "use_peft")
    assert said(of_trl(lora_r=8), "lora_r").startswith("no effect there: use_peft is not set")


def test_the_choice_of_peft_is_what_is_written() -> None:
    adapted = get_peft_model(tiny_llama(), LoraConfig(task_type="CAUSAL_LM"))
    assert at(of_trl(use_peft=True), "model.lora.target_modules") == sorted(
        adapted.peft_config["default"].target_modules
    )


def test_dropout_is_off_there_in_adapters_too() -> None:
    adapted = get_peft_model(tiny_llama(), LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.3))
    disable_dropout_in_model(adapted)
    assert {each.p for each in adapted.modules() if isinstance(each, torch.nn.Dropout)} == {0}
    assert "disable_dropout" in said(of_trl(use_peft=True, lora_dropout=0.3), "lora_dropout")
    draft = of_trl(use_peft=True, lora_dropout=0.3, disable_dropout=False)
    assert at(draft, "model.lora.dropout") == 0.3
    assert at(draft, "model.dropout") is True


def test_a_base_in_few_bits() -> None:
    draft = of_trl(use_peft=True, load_in_4bit=True, dtype="bfloat16", use_bnb_nested_quant=True)
    assert at(draft, "model.quantization_config") == {
        **{"load_in_4bit": True, "bnb_4bit_compute_dtype": "bfloat16", "bnb_4bit_quant_type": "nf4"},
        "bnb_4bit_use_double_quant": True,
    }
    assert at(of_trl(load_in_8bit=True), "model.quantization_config") == {"load_in_8bit": True}
    assert said(of_trl(bnb_4bit_quant_type="fp4"), "bnb_4bit_quant_type").startswith("no effect there")


def test_compiling_and_precision() -> None:
    assert at(of_trl(torch_compile=True), "model.fused_layers") == "compile"
    assert said(of_trl(torch_compile=True), "torch_compile").startswith("differs")
    assert said(of_trl(torch_dtype="auto"), "torch_dtype").startswith("differs")
    assert at(of_trl(router_aux_loss_coef=0.01), "model.router_aux_loss_coef") == 0.01
