"""Fields of the run that have no equal here, and those that nothing here needs."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.errors import InputError
from tests.cli.ways_over.made import axolotl, config, told


@pytest.mark.parametrize(
    "changes",
    [
        {"deepspeed": "deepspeed_configs/zero2.json"},
        {"fsdp_config": {"fsdp_version": 2}},
        {"context_parallel_size": 4},
        {"fp8": True},
        {"neftune_noise_alpha": 5},
        {"load_best_model_at_end": True},
        {"batch_size": 64},
    ],
)
def test_what_has_no_equal_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(changes))):
        axolotl(**changes)


def test_what_nothing_needs_is_told_once() -> None:
    draft = axolotl(flash_attention=True, torch_compile=True, hub_model_id="me/it", context_parallel_size=1)
    assert {*told(draft)} >= {"flash_attention", "torch_compile", "hub_model_id"}
    assert len(draft.told) == len(told(draft))


def test_what_is_written_is_not_told_to_be_left_out() -> None:
    draft = axolotl(ddp_timeout=7200, ddp_find_unused_parameters=False)
    arguments = {"timeout": "2:00:00", "find_unused_parameters": False}
    assert config(draft)["trainer"]["strategy"] == {"class_path": "DDPStrategy", "init_args": arguments}
    assert not {"ddp_timeout", "ddp_find_unused_parameters"} & told(draft).keys()
