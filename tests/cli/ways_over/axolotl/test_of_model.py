"""Fields of the model that have no equal here."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.errors import InputError
from tests.cli.ways_over.made import axolotl


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"relora": True}, "relora"),
        ({"lora_fan_in_fan_out": True}, "lora_fan_in_fan_out"),
        ({"tokens": ["<|x|>"]}, "save the tokenizer with it"),
        ({"unfrozen_parameters": ["lm_head"]}, "adapters or all weights"),
        ({"processor_type": "AutoProcessor"}, "text models are trained here"),
        ({"gptq": True}, "bitsandbytes"),
        ({"model_config": {"rope_theta": 1}}, "save the model with it"),
    ],
)
def test_what_has_no_equal_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        axolotl(**changes)
    assert "\n" not in str(refused.value)


def test_what_switches_nothing_on_passes() -> None:
    axolotl(relora=False, lora_fan_in_fan_out=None, gptq=False, loraplus_lr_embedding=1e-6, tokens=None)
