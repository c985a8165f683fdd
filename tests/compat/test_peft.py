"""A PEFT model calls the model inside it with its hooks, whatever its version does by itself."""

from __future__ import annotations

from copy import deepcopy
from importlib.util import find_spec
from typing import Any

import peft
import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper

from dpo_lightning.compat.peft import AdapterSwitch, call_with_hooks, letters_for_names, loading_problem
from tests.helpers.tiny import tiny_llama
from tests.policy.test_experts import mixture

IS_CONVERTED = find_spec("transformers.conversion_mapping") is not None  # since transformers 5


@pytest.mark.parametrize("old", [False, True])
def test_hooks_of_the_model_inside_run(old: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = get_peft_model(tiny_llama(), LoraConfig(r=2))
    if old:  # as PEFT 0.19 does it
        monkeypatch.setattr(type(model.base_model), "forward", lambda self, *a, **k: self.model.forward(*a, **k))
    ids = torch.tensor([[1, 2, 3]])
    expected = model(input_ids=ids).logits
    seen = []
    model.base_model.model.register_forward_pre_hook(lambda *_: seen.append(1))
    call_with_hooks(model.base_model)
    assert torch.equal(model(input_ids=ids).logits, expected)
    assert seen == [1]


@pytest.mark.parametrize(
    ("pattern", "read", "letters"),
    [
        ("all-linear", set("all-linear"), True),
        (r".*q_proj", set(r".*q_proj"), True),
        ("all-linear", {"q_proj", "v_proj"}, False),
        ("all-linear", "all-linear", False),
        (["a", "b"], {"a", "b"}, False),
        ("all-linear", None, False),
    ],
)
def test_a_pattern_that_was_taken_for_its_letters(pattern: Any, read: Any, letters: bool) -> None:
    assert letters_for_names(pattern, read) is letters


def test_an_adapter_that_could_not_be_loaded_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The words are those of PEFT 0.19 with transformers 5.17."""
    model: Any = get_peft_model(mixture(), LoraConfig(r=2, target_modules=["q_proj"]))
    before = {name: each.clone() for name, each in model.state_dict().items()}
    found = loading_problem(model)
    assert found is None or "WeightConverter" in found
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())

    def fail(*_: Any, **__: Any) -> None:
        raise TypeError("WeightConverter.__init__() got an unexpected keyword argument 'distributed_operation'")

    monkeypatch.setattr(peft, "set_peft_model_state_dict", fail)
    assert loading_problem(get_peft_model(tiny_llama(), LoraConfig(r=2))) is None  # nothing of it is converted
    if IS_CONVERTED:
        assert "distributed_operation" in (loading_problem(model) or "")


def switched(policy: Any) -> tuple[list[bool], list[Any], list[bool]]:
    """Which layers are off, which adapters are active, and what is trained."""
    layers = [each for each in policy.modules() if isinstance(each, BaseTunerLayer | AuxiliaryTrainingWrapper)]
    return (
        [each.disable_adapters for each in layers],
        [list(each.active_adapters) for each in layers],
        [parameter.requires_grad for parameter in policy.parameters()],
    )


class TestAdapterSwitch:
    @pytest.mark.parametrize(
        "settings",
        [{}, {"modules_to_save": ["lm_head"]}, {"trainable_token_indices": [1, 2]}, {"use_dora": True}],
        ids=["lora", "modules to save", "tokens", "dora"],
    )
    def test_off_is_pefts_off(self, settings: dict[str, Any]) -> None:
        policy: Any = get_peft_model(tiny_llama(), LoraConfig(r=2, init_lora_weights=False, **settings))
        ids, before = torch.tensor([[1, 2, 3]]), switched(policy)
        with policy.disable_adapter():
            expected = policy(input_ids=ids).logits

        def inside() -> None:
            with AdapterSwitch(policy).off():
                torch.testing.assert_close(policy(input_ids=ids).logits, expected, rtol=0, atol=0)
                assert switched(policy)[2] == before[2]
                raise ValueError("inside")

        with pytest.raises(ValueError, match="inside"):
            inside()
        assert switched(policy) == before

    def test_walks_the_modules_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        policy: Any = get_peft_model(tiny_llama(), LoraConfig(r=2))
        switch = AdapterSwitch(policy)
        with switch.off():
            pass
        walks: list[int] = []
        named_modules = torch.nn.Module.named_modules
        monkeypatch.setattr(
            torch.nn.Module, "named_modules", lambda self, *a, **k: walks.append(1) or named_modules(self, *a, **k)
        )
        with switch.off():
            pass
        with switch.to("default"):
            pass
        assert not walks

    def test_sees_layers_that_are_new(self) -> None:
        policy: Any = get_peft_model(tiny_llama(), LoraConfig(r=2, target_modules=["q_proj"]))
        switch = AdapterSwitch(policy)
        with switch.off():
            pass
        policy.add_adapter("second", LoraConfig(r=2, target_modules=["q_proj", "up_proj"]))
        with switch.off():
            assert all(switched(policy)[0])
        layers = policy.base_model.model.model.layers
        layers[0] = deepcopy(layers[1])
        with switch.off():
            assert all(switched(policy)[0])
        assert not any(switched(policy)[0])

    def test_another_adapter_and_back(self) -> None:
        config = LoraConfig(r=2, init_lora_weights=False)
        policy: Any = get_peft_model(tiny_llama(), config)
        policy.add_adapter("second", config)
        policy.base_model.model.model.layers[0].self_attn.q_proj.lora_A["default"].weight.requires_grad_(False)
        ids, before = torch.tensor([[1, 2, 3]]), switched(policy)
        with AdapterSwitch(policy).to("second"):
            found = policy(input_ids=ids).logits
        assert switched(policy) == before  # what was frozen, too

        policy.set_adapter("second")
        assert torch.equal(policy(input_ids=ids).logits, found)

    def test_what_is_partly_off_is_left_to_peft(self) -> None:
        policy: Any = get_peft_model(tiny_llama(), LoraConfig(r=2))
        policy.base_model.model.model.layers[0].self_attn.q_proj.enable_adapters(False)
        with pytest.warns(UserWarning, match="some adapter layers that are enabled"), AdapterSwitch(policy).off():
            assert all(switched(policy)[0])
