"""Parameters on their way into the optimizer."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dpo_lightning.errors import InputError


def decay_groups(module: nn.Module) -> list[dict[str, Any]]:
    """Trainable parameters in two groups: matrices with the optimizer's own weight decay, the rest without any.

    Norm weights and biases have one dimension, except that the biases of stacked experts have two.

    Raises:
        InputError: when nothing is trainable.
    """
    trainable = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    if not trainable:
        raise InputError("the policy has no trainable parameters: set `lora` for a quantized or frozen model")
    decayed = {name for name, parameter in trainable.items() if parameter.ndim >= 2 and not name.endswith("bias")}
    groups: list[dict[str, Any]] = [
        {"params": [parameter for name, parameter in trainable.items() if name in decayed]},
        {"params": [parameter for name, parameter in trainable.items() if name not in decayed], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def gradient_norm(module: nn.Module) -> Float[Tensor, ""]:
    """2-norm over the gradients of all parameters, 0-d on the device."""
    return torch.nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None])
