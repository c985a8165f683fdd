"""A policy that was given as a module is the user's again when a run ends, fails, or never comes to a step."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
from peft import PeftModel

from dpo_lightning import LoRA
from tests.helpers.runs import data, module, trainer
from tests.helpers.tiny import tiny_llama


class FailsAt(pl.Callback):
    def __init__(self, hook: str) -> None:
        setattr(self, hook, self._fail)

    def _fail(self, *args: Any, **kwargs: Any) -> None:
        raise ValueError("mine")


@pytest.mark.parametrize(("hook", "adapted"), [("on_train_start", False), ("on_train_batch_end", True)])
def test_adapters_stay_where_they_were_trained(tmp_path, hook, adapted):
    policy = tiny_llama(attention_dropout=0.5)
    model = module(policy, lora=LoRA(r=2))
    with pytest.raises(ValueError, match="mine"):
        trainer(callbacks=[FailsAt(hook)]).fit(model, data(tmp_path))
    assert policy.config.attention_dropout == 0.5
    assert isinstance(model.policy, PeftModel) is adapted
    assert any("lora" in name for name, _ in policy.named_parameters()) is adapted
    if not adapted:
        again = trainer(max_steps=1)
        again.fit(model, data(tmp_path))
        assert again.global_step == 1
