"""A PEFT model calls the model inside it with its hooks, whatever its version does by itself."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import peft
import pytest
import torch
from peft import LoraConfig, get_peft_model

from dpo_lightning.compat.peft import call_with_hooks, letters_for_names, loading_problem
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
