"""Parameters on their way into the optimizer."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


def decay_groups(module: nn.Module) -> list[dict[str, Any]]:
    """Trainable parameters in two groups: matrices with the optimizer's own weight decay, the rest without any.

    Norm weights and biases have one dimension.
    """
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [parameter for parameter in trainable if parameter.ndim >= 2]},
        {"params": [parameter for parameter in trainable if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def gradient_norm(module: nn.Module) -> Float[Tensor, ""]:
    """2-norm over the gradients of all parameters, 0-d on the device."""
    return torch.nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None])
