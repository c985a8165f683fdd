"""The optimizer over the trained parameters, and their weight-decay groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from dpo_lightning.compat.torch import is_of_groups
from dpo_lightning.errors import InputError
from dpo_lightning.utils.gradients import by_mesh


def make_optimizer(maker: Callable[[Any], Optimizer], module: nn.Module) -> Optimizer:
    """Make the optimizer over the `decay_groups`, or over one group where it takes no more, as `LBFGS` does.

    Raises:
        InputError: when nothing is trainable.
    """
    groups = decay_groups(module)
    try:
        return maker(groups)
    except ValueError as error:
        if not is_of_groups(error):
            raise
        return maker([parameter for group in groups for parameter in group["params"]])


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
