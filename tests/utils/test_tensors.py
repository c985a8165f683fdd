"""Device, dtype and whole tensors of small modules."""

from __future__ import annotations

import torch
from torch import nn

from dpo_lightning.utils.tensors import device_of, float_dtype_of, whole


def test_a_quantized_weight_does_not_hide_the_dtype_behind_it() -> None:
    model = nn.Module()
    model.packed = nn.Parameter(torch.zeros(2, dtype=torch.uint8), requires_grad=False)
    model.scale = nn.Parameter(torch.zeros(2, dtype=torch.bfloat16))

    assert float_dtype_of(model) == torch.bfloat16


def test_the_device_is_that_of_the_parameters() -> None:
    assert device_of(nn.Linear(1, 1)) == torch.device("cpu")
    assert device_of(nn.Linear(1, 1, device="meta")) == torch.device("meta")


def test_a_tensor_that_is_not_sharded_is_itself() -> None:
    tensor = torch.ones(2)

    assert whole(tensor) is tensor
