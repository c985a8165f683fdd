"""What was written is loaded again, and compared with the policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from dpo_lightning.errors import InputError
from dpo_lightning.policy.compare_export import check_written, other_base, probe_logits
from dpo_lightning.policy.export import ExportForm, write_model
from dpo_lightning.policy.lora import LoRA
from dpo_lightning.policy.prepare import PolicyOptions, build_policy
from tests.helpers.tiny import tiny_llama


def changed(file: Path) -> None:
    """Scale one weight."""
    tensors = load_file(file)
    name = next(iter(tensors))
    save_file({**tensors, name: tensors[name] * 1.5}, file, {"format": "pt"})


def adapted(directory: str = "", **settings: Any) -> Any:
    lora = LoRA(r=2, init_lora_weights=False, **settings)
    return build_policy(directory or tiny_llama(), torch.float32, PolicyOptions(lora=lora))


def test_the_probe_leaves_mode_and_random_state() -> None:
    policy = adapted(dropout=0.5)
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    assert torch.equal(probe_logits(policy), probe_logits(policy))
    assert torch.equal(torch.rand(2), expected)
    assert policy.training


@pytest.mark.parametrize("make", [tiny_llama, adapted], ids=["whole", "adapter"])
def test_what_is_right_passes_and_what_is_not_is_named(tmp_path: Path, make: Any) -> None:
    model = make()
    expected = probe_logits(model)
    model.save_pretrained(tmp_path)
    check_written(tmp_path, model, expected, torch.float32, "out")

    changed(next(tmp_path.glob("*.safetensors")))
    with pytest.raises(InputError, match=r"^export to out: loaded again, its .* is not the policy's, so nothing|% of"):
        check_written(tmp_path, model, expected, torch.float32, "out")


def test_a_small_difference_in_half_precision_is_found_in_the_weights(tmp_path: Path) -> None:
    model = adapted().to(torch.bfloat16)
    expected = probe_logits(model)
    model.save_pretrained(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    name = next(iter(tensors))
    save_file({**tensors, name: tensors[name] * 1.01}, file, {"format": "pt"})
    with pytest.raises(InputError, match=r"loaded again, its .*lora_A.weight is not the policy's"):
        check_written(tmp_path, model, expected, torch.bfloat16, "out")


def test_another_base_under_the_name_is_found(tmp_path: Path) -> None:
    tiny_llama().save_pretrained(tmp_path / "base")
    policy = adapted(str(tmp_path / "base"))
    write_model(policy, None, None, str(tmp_path / "out"))
    tiny_llama(seed=9).save_pretrained(tmp_path / "base")
    with pytest.raises(InputError, match=r"its logits differ from the policy's by .*% of their size, so nothing was"):
        write_model(policy, None, None, str(tmp_path / "out2"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "out"]


@pytest.mark.filterwarnings("ignore:Could not find a config file:UserWarning")
@pytest.mark.parametrize("initialisation", [True, "pissa"])
def test_a_base_that_is_gone_is_the_one_in_memory(tmp_path: Path, initialisation: bool | str) -> None:
    config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=initialisation, task_type="CAUSAL_LM")
    policy = get_peft_model(tiny_llama(), config)
    policy.peft_config["default"].base_model_name_or_path = str(tmp_path / "gone")
    write_model(policy, None, None, str(tmp_path / "out"))
    assert (tmp_path / "out/adapter_config.json").is_file()


def test_what_cannot_be_loaded_says_so(tmp_path: Path) -> None:
    model = tiny_llama()
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"^export to out: what was written cannot be loaded: ") as caught:
        check_written(tmp_path, model, probe_logits(model), torch.float32, "out")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_another_dtype_is_compared_by_its_own_rounding(tmp_path: Path, dtype: str) -> None:
    for name, form in (("adapter", ExportForm(dtype=dtype)), ("merged", ExportForm(merged=True, dtype=dtype))):
        write_model(adapted(), None, None, str(tmp_path / name), form)
        written = load_file(next((tmp_path / name).glob("*.safetensors")))
        assert {str(value.dtype) for value in written.values()} == {f"torch.{dtype}"}


def test_a_quantized_base_is_loaded_quantized(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    tiny_llama(hidden_size=64, intermediate_size=128).save_pretrained(tmp_path / "base")
    options = PolicyOptions(lora=LoRA(r=2, init_lora_weights=False), quantization_config={"load_in_4bit": True})
    policy = build_policy(str(tmp_path / "base"), torch.float32, options)
    write_model(policy, None, None, str(tmp_path / "out"))
    assert (tmp_path / "out/adapter_model.safetensors").is_file()


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_base_in_memory_that_is_not_the_one_under_its_name_is_known(tmp_path: Path, wrapped: bool) -> None:
    tiny_llama().save_pretrained(tmp_path)
    model = tiny_llama().to(torch.bfloat16)
    live = get_peft_model(model, LoraConfig(r=2, modules_to_save=["lm_head"])).get_base_model() if wrapped else model
    assert other_base(live, str(tmp_path)) is None
    assert other_base(live, None) is None
    assert other_base(live, str(tmp_path / "nowhere")) is None
    with torch.no_grad():
        model.model.norm.weight[0] += 1
    assert "a module whose model.norm.weight is not that of the model under its name" in str(
        other_base(live, str(tmp_path))
    )
