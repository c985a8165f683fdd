"""What an initialisation does, found out by trying it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig
from peft.tuners.lora.layer import LoraLayer

from dpo_lightning.errors import InputError
from dpo_lightning.policy.initialisation import check_repeats, initialisation, moves_base


@pytest.mark.parametrize("name", [True, False, "gaussian", "orthogonal", "mica"])
def test_most_leave_the_base_alone(name: bool | str) -> None:
    assert not initialisation(name).moves_base
    assert initialisation(name).problem is None


@pytest.mark.parametrize("name", ["pissa", "olora"])
def test_a_residual_that_is_the_same_each_time_can_be_used(name: str) -> None:
    assert initialisation(name).moves_base
    assert initialisation(name).problem is None


@pytest.mark.parametrize("name", ["pissa_niter_1", "pissa_niter_4", "pissa_niter_16"])
def test_a_residual_that_is_another_each_time_cannot(name: str) -> None:
    assert "leaves other frozen weights each time" in str(initialisation(name).problem)


@pytest.mark.parametrize("name", ["eva", "lora_ga"])
def test_one_that_does_nothing_without_its_data_says_so(name: str) -> None:
    assert "without it does what true does: write true" in str(initialisation(name).problem)


def test_the_answer_does_not_depend_on_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def reset(layer: Any, adapter: str, name: Any) -> None:
        torch.nn.init.zeros_(layer.lora_B[adapter].weight)
        torch.nn.init.normal_(layer.lora_A[adapter].weight)
        if name == "new_random":
            layer.get_base_layer().weight.data += torch.randn_like(layer.get_base_layer().weight)
        if name == "new_shift":
            layer.get_base_layer().weight.data += 1.0

    monkeypatch.setattr(LoraLayer, "reset_lora_parameters", reset)
    assert "leaves other frozen weights" in str(initialisation("new_random").problem)
    assert (initialisation("new_shift").problem, moves_base("new_shift")) == (None, True)
    assert (initialisation("new_quiet").problem, moves_base("new_quiet")) == (None, False)
    initialisation.cache_clear()


def test_what_peft_does_not_know_moves_the_base_for_all_that_is_known() -> None:
    assert moves_base("nonsense")


def test_it_leaves_the_random_state_and_the_default_dtype() -> None:
    initialisation.cache_clear()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("meta"):
            assert initialisation("pissa").repeats
        assert torch.get_default_dtype() == torch.bfloat16
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.rand(2), expected)


def test_an_adapter_on_disk_whose_base_nobody_has_is_refused() -> None:
    check_repeats(LoraConfig(init_lora_weights="pissa"))
    check_repeats(SimpleNamespace())
    with pytest.raises(InputError, match=r"^init_lora_weights='pissa_niter_4' of the adapter leaves other frozen"):
        check_repeats(LoraConfig(init_lora_weights="pissa_niter_4"))
