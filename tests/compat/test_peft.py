"""A PEFT model calls the model inside it with its hooks, whatever its version does by itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from dpo_lightning.compat.peft import call_with_hooks
from tests.helpers.tiny import tiny_llama


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
