"""Fields of model and data that have no equal here, or that nothing here needs."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.errors import InputError
from tests.cli.ways_over.made import llama_factory, told


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_scaling": "linear"},
        {"resize_vocab": True},
        {"mixture_of_depths": "convert"},
        {"shift_attn": True},
        {"default_system": "Be brief."},
        {"tokenized_path": "tokens"},
        {"eval_on_each_dataset": True},
    ],
)
def test_what_has_no_equal_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(changes))):
        llama_factory(**changes)


def test_what_nothing_needs_is_told() -> None:
    said = told(llama_factory(enable_liger_kernel=True, flash_attn="fa2", image_max_pixels=10, overwrite_cache=True))
    assert {*said} >= {"enable_liger_kernel", "flash_attn", "image_max_pixels", "overwrite_cache"}
    assert "flash_attn" not in told(llama_factory(flash_attn="auto"))
