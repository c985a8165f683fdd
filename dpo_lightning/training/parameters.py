"""Weight-decay groups and gradient norm of the trained parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from dpo_lightning.errors import InputError
from dpo_lightning.utils.tensors import whole

T = TypeVar("T", bound=Tensor)


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
        groups += [{"params": alike, **settings} for alike in _by_mesh(parameters)]
    return groups


def gradient_norm(module: nn.Module) -> Float[Tensor, ""]:
    """Return the 2-norm of all gradients, 0-d on the device; every rank must call it for a sharded module."""
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    norms = [torch.nn.utils.get_total_norm(alike) for alike in _by_mesh(gradients)]
    return torch.nn.utils.get_total_norm([whole(norm) for norm in norms])


def clip_by_norm(module: nn.Module, largest: float) -> None:
    """Scale all gradients so that their common 2-norm is at most `largest`, on whichever meshes they are."""
    norm = gradient_norm(module)
    for alike in _by_mesh(parameter for parameter in module.parameters() if parameter.grad is not None):
        torch.nn.utils.clip_grads_with_norm_(alike, largest, norm)


def _by_mesh(tensors: Iterable[T]) -> list[list[T]]:
    """Group tensors by device mesh, as torch takes one: with tensor parallelism, norms are on another than matrices."""
    groups: dict[Any, list[T]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.device_mesh if isinstance(tensor, DTensor) else None, []).append(tensor)
    return list(groups.values())
