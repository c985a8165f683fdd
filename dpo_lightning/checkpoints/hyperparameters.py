"""Hyperparameters that a checkpoint can hold: plain types, in the form that the command's configs have."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import torch

from dpo_lightning.compat.lightning_checkpoints import INSTANTIATOR, INSTANTIATOR_KEY

_SCALARS = (int, float, str)
_LOADABLE = (*_SCALARS, bool, type(None), torch.dtype)


class _NoPlainForm(Exception):  # noqa: N818 - caught here, never shown
    """A module, a callable, or another object that is no setting."""


def plain_hyperparameters(hparams: MutableMapping[str, Any]) -> None:
    """Turn settings objects into config form in place, and drop what has none (modules, callables).

    A checkpoint with an object in it is written without complaint and refused on resume, since torch loads plain types
    only: an enum that is a string or numpy's float64, which is a float, are objects too. Settings objects are
    dataclasses, whose fields are their init arguments.
    """
    for name, value in list(hparams.items()):
        try:
            hparams[name] = _plain(value)
        except _NoPlainForm:
            del hparams[name]
    hparams.setdefault(INSTANTIATOR_KEY, INSTANTIATOR)


def _plain(value: Any) -> Any:
    if type(value) in _LOADABLE:
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return _config_form(value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _plain_scalar(value)


def _plain_scalar(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Enum):
        return _plain(value.value)
    for scalar in _SCALARS:
        if isinstance(value, scalar):
            return scalar(value)
    raise _NoPlainForm


def _config_form(settings: Any) -> dict[str, Any]:
    init_args = {field.name: _plain(getattr(settings, field.name)) for field in fields(settings) if field.init}
    if type(settings).__mro__[1] is object:  # named by its place, not chosen among subclasses
        return init_args
    return {"class_path": f"{type(settings).__module__}.{type(settings).__qualname__}", "init_args": init_args}
