"""Weight-decay groups and gradient norm of the trained parameters."""

from __future__ import annotations

from typing import Any

from torch import nn

from dpo_lightning.errors import InputError
from dpo_lightning.utils.gradients import by_mesh


def decay_groups(module: nn.Module) -> list[dict[str, Any]]:
    """Return the trainable parameters in two groups: matrices with the optimizer's weight decay, the rest without any.

    Norm weights and biases have one dimension, except that the biases of stacked experts have two.

    Raises:
        InputError: when nothing is trainable.
    """
    trainable = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    if not trainable:
        raise InputError("the policy has no trainable parameters: set `lora` for a quantized or frozen model")
    decayed = {name for name, parameter in trainable.items() if parameter.ndim >= 2 and not name.endswith("bias")}
    groups: list[dict[str, Any]] = []
    for settings, names in (({}, decayed), ({"weight_decay": 0.0}, trainable.keys() - decayed)):
        parameters = [parameter for name, parameter in trainable.items() if name in names]
        groups += [{"params": alike, **settings} for alike in by_mesh(parameters)]
    return groups
