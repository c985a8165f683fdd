"""Norms and clipping of gradients, also on more than one device mesh, and of a loss that is scaled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary, ref

import lightning.pytorch as pl
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from dpo_lightning.compat.modules import parameters_of
from dpo_lightning.compat.torch import changes_of, is_unscaled, loss_scale
from dpo_lightning.utils.tensors import whole
from dpo_lightning.utils.trainers import attached_trainer

T = TypeVar("T", bound=Tensor)

_OWN = ("dpo_lightning", "lightning")


class _Known(NamedTuple):
    """A norm, and what it is of: each gradient, the number of its changes, and those that are scaled."""

    gradients: list[ref[Tensor]]
    changes: list[int]
    multiplied: set[int]
    norm: Tensor


_known: WeakKeyDictionary[nn.Module, _Known] = WeakKeyDictionary()


def gradient_norm(module: nn.Module, optimizer: Optimizer | None = None) -> Float[Tensor, ""]:
    """Return the 2-norm over all gradients, 0-d on the device; of a sharded module every rank must call it.

    Where the module's Trainer scales the loss (`16-mixed`), it is the norm without that factor.

    Args:
        module: The module.
        optimizer: Takes the gradients of its own parameters only.
    """
    return _norm_of(module, _gradients(module, optimizer))


def _norm_of(module: nn.Module, gradients: Sequence[tuple[nn.Parameter, Tensor]]) -> Float[Tensor, ""]:
    multiplied, scale = _multiplied(module)
    norms = _norms(gradient for parameter, gradient in gradients if id(parameter) not in multiplied)
    norms += [norm / scale for norm in _norms(each for parameter, each in gradients if id(parameter) in multiplied)]
    return norms[0] if len(norms) == 1 else nn.utils.get_total_norm(norms)


def norm_of_step(module: nn.Module, optimizer: Optimizer | None = None, *, measure: bool = False) -> Float[Tensor, ""]:
    """Return `gradient_norm`, of which guard, log and clipping share one: it reads each gradient once (4 bytes each).

    A norm is measured anew where a gradient is another one or was changed since, and in a run with a callback or a
    module that has a hook of its own between guard and clipping: a change through `.data` shows nowhere.

    Args:
        module: The module.
        optimizer: Takes the gradients of its own parameters only.
        measure: Measure it in any case: the step begins.
    """
    gradients, known = _gradients(module, optimizer), _known.get(module)
    if not measure and known is not None and _is_of(known, module, gradients):
        return known.norm
    norm = _norm_of(module, gradients)
    each = [gradient for _, gradient in gradients]
    _known[module] = _Known([*map(ref, each)], [*map(changes_of, each)], _multiplied(module)[0], norm)
    return norm


def _is_of(known: _Known, module: nn.Module, gradients: Sequence[tuple[nn.Parameter, Tensor]]) -> bool:
    """Return whether a norm is that of the gradients that the parameters have now."""
    if len(known.gradients) != len(gradients) or not _only_own_hooks(module):
        return False
    was = {id(gradient()): changes for gradient, changes in zip(known.gradients, known.changes, strict=True)}
    same = all(was.get(id(gradient)) == changes_of(gradient) for _, gradient in gradients)
    return same and known.multiplied == _multiplied(module)[0]


def _only_own_hooks(module: nn.Module) -> bool:
    """Return whether nobody else's code runs between the guard and the clipping of a step."""
    trainer = attached_trainer(module) if isinstance(module, pl.LightningModule) else None
    if trainer is None or not isinstance(module, pl.LightningModule):
        return False
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    # Of the objects: Lightning's `LambdaCallback` has hooks of its own.
    hooks: list[Any] = [each.on_before_optimizer_step for each in callbacks]
    hooks += [module.on_before_optimizer_step, module.configure_gradient_clipping]
    return all(str(getattr(hook, "__module__", "")).partition(".")[0] in _OWN for hook in hooks)


def _gradients(module: nn.Module, optimizer: Optimizer | None) -> list[tuple[nn.Parameter, Tensor]]:
    """Return each parameter that has a gradient, with that: torch makes a new object at each look, in 1 us."""
    taken = _in_order(module) if optimizer is None else _parameters(optimizer)
    return [(parameter, gradient) for parameter in taken if (gradient := parameter.grad) is not None]


def _with_gradients(module: nn.Module, optimizer: Optimizer) -> list[nn.Parameter]:
    return [parameter for parameter, _ in _gradients(module, optimizer)]


def _in_order(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of a module, of one optimizer in its order: a norm's last bit depends on the order."""
    parameters = parameters_of(module)
    trainer = attached_trainer(module) if isinstance(module, pl.LightningModule) else None
    optimizers: list[Optimizer] = [] if trainer is None else trainer.optimizers
    first = {id(each): each for each in _parameters(optimizers[0])} if len(optimizers) == 1 else {}
    if first.keys() == parameters.keys():
        return [*first.values()]
    return [*{**{key: each for key, each in first.items() if key in parameters}, **parameters}.values()]


def _parameters(optimizer: Optimizer) -> Iterator[nn.Parameter]:
    return (parameter for group in optimizer.param_groups for parameter in group["params"])


def _norms(gradients: Iterable[Tensor]) -> list[Tensor]:
    """Return the 2-norm of the gradients on each mesh, whole."""
    return [whole(nn.utils.get_total_norm(each)) for each in by_mesh(gradients)]


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


def clip(module: nn.Module, optimizer: Optimizer, clip_val: float, gradient_clip_algorithm: str) -> None:
    """Clip the gradients that an optimizer takes, `norm` or `value`; 0 leaves them as they are."""
    optimizer = getattr(optimizer, "optimizer", optimizer)  # who optimizes by hand has Lightning's wrapper
    if clip_val > 0:
        clip_by = clip_by_value if gradient_clip_algorithm == "value" else clip_by_norm
        clip_by(module, optimizer, clip_val)


def clip_by_norm(module: nn.Module, optimizer: Optimizer, largest: float) -> None:
    """Scale the gradients that an optimizer takes so that their 2-norm is at most `largest`, on whichever meshes.

    The factor is `largest / norm`, of the norm without the scale of the loss: of gradients that a fused optimizer
    divides by that scale only while it steps, it is the right one too.
    """
    norm = norm_of_step(module, optimizer)
    for alike in by_mesh(_with_gradients(module, optimizer)):
        torch.nn.utils.clip_grads_with_norm_(alike, largest, norm)
    _known.pop(module, None)


def clip_by_value(module: nn.Module, optimizer: Optimizer, largest: float) -> None:
    """Bring each number of the gradients that an optimizer takes into `[-largest, largest]`.

    Divides by the scale of the loss first, where a fused optimizer would do so while it steps.
    """
    scaler = gradient_scaler(module)
    if scaler is not None and loss_scale(scaler) is not None and not is_unscaled(scaler, optimizer):
        scaler.unscale_(optimizer)
    parameters = _with_gradients(module, optimizer)
    if parameters:  # of a step that is left out there is none, which torch refuses
        torch.nn.utils.clip_grad_value_(parameters, largest)


def by_mesh(tensors: Iterable[T]) -> list[list[T]]:
    """Group tensors by their device mesh: torch takes one, and tensor parallelism has norms and biases on another."""
    tensors = [*tensors]
    if tensors and not any([isinstance(each, DTensor) for each in tensors]):  # noqa: C419 - a list is half the time
        return [tensors]
    groups: dict[Any, list[T]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.device_mesh if isinstance(tensor, DTensor) else None, []).append(tensor)
    return list(groups.values())
