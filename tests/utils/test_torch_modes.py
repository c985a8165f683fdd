"""Train mode, eval mode, and the dtype that autocast computes in."""

from __future__ import annotations

import pytest
import torch

from dpo_lightning.utils.torch_modes import compute_dtype, evaluating
from tests.helpers.tiny import VOCAB_SIZE, tiny_llama


def test_evaluating_restores_mixed_modes() -> None:
    model = tiny_llama().train()
    model.model.layers[0].eval()
    before = {name: module.training for name, module in model.named_modules()}

    modes = {}
    model.register_forward_pre_hook(lambda *_: modes.update(during={m.training for m in model.modules()}))
    with pytest.raises(IndexError), evaluating(model):
        model(input_ids=torch.full((1, 4), VOCAB_SIZE))

    assert modes == {"during": {False}}
    assert {name: module.training for name, module in model.named_modules()} == before
    assert len(set(before.values())) == 2


def test_the_dtype_of_a_product_is_that_of_autocast_on_the_tensors_device() -> None:
    tensor = torch.ones(1)
    assert compute_dtype(tensor) == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert compute_dtype(tensor) == torch.bfloat16
