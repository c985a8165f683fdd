"""An evaluation whose policy is its own reference says so, and the numbers agree with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dpo_lightning import LoRA, PreferenceModule, SimPO
from dpo_lightning.cli.same_weights import same_weights
from dpo_lightning.reference import AdapterOff, FrozenAdapter, FrozenCopy
from tests.helpers.runs import data, trainer
from tests.helpers.tiny import tiny_llama


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"reference": FrozenCopy()},
        {"lora": LoRA(r=2)},
        {"lora": LoRA(r=2), "reference": AdapterOff()},
        {"lora": LoRA(r=2), "reference": FrozenAdapter()},
    ],
)
def test_where_nothing_else_is_named_they_are_the_same(tmp_path: Path, settings: dict[str, Any]) -> None:
    model = PreferenceModule(tiny_llama(), **settings)
    note = same_weights(model, None)

    assert note is not None
    assert "every reward is 0" in note
    (found,) = trainer().validate(model, data(tmp_path), verbose=False)
    assert found["val/rewards/accuracies"] == 0.5
    assert found["val/rewards/margins"] == 0
    assert found["val/logps/accuracies"] == 0  # chosen ones are the longer ones here
    assert found["val/logps/accuracies_per_token"] != 0.5  # a number of the model, and not of ties


def test_where_they_may_differ_nothing_is_said() -> None:
    assert same_weights(PreferenceModule(tiny_llama()), "some.ckpt") is None
    assert same_weights(PreferenceModule(tiny_llama(), SimPO()), None) is None
    assert same_weights(PreferenceModule("some/adapter", reference=AdapterOff()), None) is None
    assert same_weights(PreferenceModule(tiny_llama(), reference=FrozenCopy("some/base")), None) is None
    assert same_weights(PreferenceModule(tiny_llama(), reference=tiny_llama()), None) is None
