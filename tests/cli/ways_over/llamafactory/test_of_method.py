"""Fields of the method that have no equal here, or were not read there."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.errors import InputError
from tests.cli.ways_over.made import llama_factory, told


@pytest.mark.parametrize(
    "changes",
    [
        {"use_galore": True},
        {"loraplus_lr_ratio": 16},
        {"pissa_init": True},
        {"use_llama_pro": True},
        {"fp8": True},
        {"disable_shuffling": True},
        {"ref_model_quantization_bit": 4},
        {"use_megatron_bridge": True},
        {"deepspeed": "ds_z3.json"},
    ],
)
def test_what_has_no_equal_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(changes))) as refused:
        llama_factory(**changes)
    assert "\n" not in str(refused.value)


def test_what_other_stages_read_is_told() -> None:
    said = told(llama_factory(ppo_epochs=2, compute_accuracy=True, temperature=0.5, use_galore=False))
    assert said["ppo_epochs"] == "read by stage: ppo alone"
    assert {"compute_accuracy", "temperature"} <= said.keys()
    assert "use_galore" not in said
