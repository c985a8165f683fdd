"""Norms of gradients, also of those on more than one device mesh, and of those of a loss that is scaled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import lightning.pytorch as pl
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from dpo_lightning.compat.torch import is_unscaled, loss_scale
from dpo_lightning.utils.tensors import whole
from dpo_lightning.utils.trainers import attached_trainer

T = TypeVar("T", bound=Tensor)


def gradient_norm(module: nn.Module, optimizer: Optimizer | None = None) -> Float[Tensor, ""]:
    """Return the 2-norm over all gradients, 0-d on the device; of a sharded module every rank must call it.

    Where the module's Trainer scales the loss (`16-mixed`), it is the norm without that factor.

    Args:
        module: The module.
        optimizer: Takes the gradients of its own parameters only.
    """
    multiplied, scale = _multiplied(module)
    taken = module.parameters() if optimizer is None else _parameters(optimizer)
    parameters = [parameter for parameter in taken if parameter.grad is not None]
    norms = _norms(parameter.grad for parameter in parameters if id(parameter) not in multiplied)
    norms += [norm / scale for norm in _norms(each.grad for each in parameters if id(each) in multiplied)]
    return torch.nn.utils.get_total_norm(norms)


def _parameters(optimizer: Optimizer) -> Iterator[nn.Parameter]:
    return (parameter for group in optimizer.param_groups for parameter in group["params"])


def _norms(gradients: Iterable[Tensor | None]) -> list[Tensor]:
    """Return the 2-norm of the gradients on each mesh, whole."""
    alike = by_mesh(gradient for gradient in gradients if gradient is not None)
    return [whole(torch.nn.utils.get_total_norm(each)) for each in alike]


def gradient_scaler(module: nn.Module) -> torch.amp.GradScaler | None:
    """Return the scaler of the loss that the module's Trainer has, as under `16-mixed`, or None."""
    trainer = attached_trainer(module) if isinstance(module, pl.LightningModule) else None
    # Plugins for other precisions have no such attribute.
    scaler = None if trainer is None else getattr(trainer.precision_plugin, "scaler", None)
    return scaler if scaler is not None and scaler.is_enabled() else None


def _multiplied(module: nn.Module) -> tuple[set[int], Tensor | float]:
    """Return the `id` of each parameter whose gradient is that of the scaled loss, and the scale.

    Lightning divides before the optimizer step; a fused optimizer does so itself while it steps.
    """
    scaler = gradient_scaler(module)
    scale = None if scaler is None else loss_scale(scaler)
    if scaler is None or scale is None or not isinstance(module, pl.LightningModule):
        return set(), 1.0
    optimizers = [each for each in module.trainer.optimizers if not is_unscaled(scaler, each)]
    return {id(parameter) for optimizer in optimizers for parameter in _parameters(optimizer)}, scale


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
