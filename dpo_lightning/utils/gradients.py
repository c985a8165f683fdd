"""Norms of gradients, also of those on more than one device mesh."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from dpo_lightning.utils.tensors import whole

T = TypeVar("T", bound=Tensor)


def gradient_norm(module: nn.Module) -> Float[Tensor, ""]:
    """Return the 2-norm over all gradients, 0-d on the device; of a sharded module every rank must call it."""
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    norms = [torch.nn.utils.get_total_norm(alike) for alike in by_mesh(gradients)]
    return torch.nn.utils.get_total_norm([whole(norm) for norm in norms])


def clip_by_norm(module: nn.Module, largest: float) -> None:
    """Scale all gradients so that their common 2-norm is at most `largest`, on whichever meshes they are."""
    norm = gradient_norm(module)
    for alike in by_mesh(parameter for parameter in module.parameters() if parameter.grad is not None):
        torch.nn.utils.clip_grads_with_norm_(alike, largest, norm)


def by_mesh(tensors: Iterable[T]) -> list[list[T]]:
    """Group tensors by their device mesh: torch takes one, and tensor parallelism has norms and biases on another."""
    groups: dict[Any, list[T]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.device_mesh if isinstance(tensor, DTensor) else None, []).append(tensor)
    return list(groups.values())
