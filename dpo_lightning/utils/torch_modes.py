"""Modes that code runs in: train or eval, autocast or not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

_scoring: ContextVar[bool] = ContextVar("scoring", default=False)


@contextmanager
def scoring() -> Iterator[None]:
    """Tell layers inside the block that a batch is scored, the one work whose forwards are worth a compiler's time."""
    token = _scoring.set(True)
    try:
        yield
    finally:
        _scoring.reset(token)


def is_scoring() -> bool:
    """Return whether a batch is scored, and no probe, sampling or comparison is under way."""
    return _scoring.get()


@contextmanager
def evaluating(model: nn.Module | Iterable[nn.Module]) -> Iterator[None]:
    """Put the model, or each of these modules, in eval mode, and then back into the mode that each was in."""
    modules = model.modules() if isinstance(model, nn.Module) else model
    training = [module for module in modules if module.training]
    for module in training:
        _set_mode(module, False)
    try:
        yield
    finally:
        for module in training:
            _set_mode(module, True)


def _set_mode(module: nn.Module, training: bool) -> None:
    """Set the mode of a module without its children; past torch's `__setattr__`, which takes 2 µs."""
    if type(module).__setattr__ is nn.Module.__setattr__ and "training" in vars(module):
        vars(module)["training"] = training
    else:
        module.training = training


@contextmanager
def probing(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode, without a cache, and let forwards leave nothing in it, such as a recurrent state.

    A state that has a graph cannot be copied, and a cache of some hybrid models does not work without their attention.
    """
    caching = [config for config in configs_of(model) if getattr(config, "use_cache", False)]
    held = [(module, dict(vars(module))) for module in model.modules()]
    for config in caching:
        config.use_cache = False
    try:
        with evaluating(model):
            yield
    finally:
        for config in caching:
            config.use_cache = True
        for module, before in held:
            _take_back_graphs(module, before)


def _take_back_graphs(module: nn.Module, before: dict[str, Any]) -> None:
    for name, value in list(vars(module).items()):
        if isinstance(value, Tensor) and value.grad_fn is not None and before.get(name) is not value:
            vars(module)[name] = before.get(name)


@contextmanager
def left_as_it_was(model: nn.Module) -> Iterator[None]:
    """Put back what forwards leave in a model: other buffers, as of a RoPE that grows, tensors, and plain values.

    A value that is changed in place is not seen.
    """
    held = [(module, dict(vars(module)), dict(module.named_buffers(recurse=False))) for module in model.modules()]
    try:
        yield
    finally:
        for module, before, buffers in held:
            _put_back(module, before, buffers)


_PLAIN = (Tensor, bool, int, float, str, type(None))


def _put_back(module: nn.Module, before: dict[str, Any], buffers: dict[str, Tensor]) -> None:
    now = dict(module.named_buffers(recurse=False))
    for name, buffer in buffers.items():
        if now.get(name) is not buffer:
            setattr(module, name, buffer)
    for name, value in list(vars(module).items()):
        if value is before.get(name, module) or not isinstance(value, _PLAIN):
            continue
        if name in before:
            vars(module)[name] = before[name]
        else:
            del vars(module)[name]


def configs_of(model: nn.Module) -> list[Any]:
    """Return the config of each module that has one; PEFT gives a plain module a dict, which holds no settings."""
    configs = [getattr(module, "config", None) for module in model.modules()]
    return list({id(config): config for config in configs if hasattr(config, "__dict__")}.values())


def compute_dtype(tensor: Tensor) -> torch.dtype:
    """Return the dtype of a matrix product with the tensor: autocast's where that is on, else the tensor's own."""
    kind = tensor.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else tensor.dtype
