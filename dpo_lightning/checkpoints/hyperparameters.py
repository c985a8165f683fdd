"""Hyperparameters that a checkpoint can hold: plain types, in the form that the command's configs have."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch.optim import Optimizer

from dpo_lightning.compat.jsonargparse import class_made
from dpo_lightning.compat.lightning_checkpoints import INSTANTIATOR, INSTANTIATOR_KEY
from dpo_lightning.errors import InputError
from dpo_lightning.losses import AnyObjective
from dpo_lightning.reference import Reference
from dpo_lightning.training import Schedule

_SCALARS = (int, float, str)
_LOADABLE = (*_SCALARS, bool, type(None), torch.dtype)


class _NoPlainForm(Exception):  # noqa: N818 - caught here, never shown
    """A module, a callable, or another object that is no setting; its text is the name of the object's class."""


def plain_hyperparameters(hparams: MutableMapping[str, Any], owner: type = object) -> dict[str, str]:
    """Turn settings objects into config form in place, and take out what has none (modules, callables).

    A checkpoint with an object in it is written without complaint and refused on resume, since torch loads plain types
    only: an enum that is a string or numpy's float64, which is a float, are objects too. Settings objects are
    dataclasses, whose fields are their init arguments.

    Args:
        hparams: Arguments by name.
        owner: The class that they construct.

    Returns:
        The arguments that were taken out, by name, with the class of each. A default comes back by itself and is none.

    Raises:
        InputError: for a reference or a schedule without config form.
    """
    lost = {}
    for name, value in list(hparams.items()):
        try:
            hparams[name] = _plain(value)
        except _NoPlainForm as error:
            _tell(name, value, str(error))
            del hparams[name]
            if not _is_default(owner, name, value):
                lost[name] = type(value).__name__
    hparams.setdefault(INSTANTIATOR_KEY, INSTANTIATOR)
    return lost


def _tell(name: str, value: Any, culprit: str) -> None:
    if isinstance(value, Reference | Schedule):
        raise InputError(
            f"{name} {type(value).__name__}: a checkpoint cannot hold {culprit}: make it a frozen dataclass, whose "
            "fields are its settings"
        )
    if isinstance(value, AnyObjective):
        rank_zero_warn(f"{culprit} is no dataclass: pass it to load_from_checkpoint again")


def _is_default(owner: type, name: str, value: Any) -> bool:
    signatures = (inspect.signature(each.__init__).parameters for each in owner.__mro__)  # type: ignore[misc]
    return any(name in parameters and parameters[name].default is value for parameters in signatures)


def _plain(value: Any) -> Any:
    if type(value) in _LOADABLE:
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return _config_form(value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, partial) and (made := class_made(value)) and issubclass(made, Optimizer):
        return {"class_path": public_path(made), "init_args": _plain(value.keywords)}
    return _plain_scalar(value)


def _plain_scalar(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Enum):
        return _plain(value.value)
    for scalar in _SCALARS:
        if isinstance(value, scalar):
            return scalar(value)
    raise _NoPlainForm(type(value).__name__)


def _config_form(settings: Any) -> dict[str, Any]:
    kind, names = type(settings), [field.name for field in fields(settings) if field.init]
    if {*inspect.signature(kind).parameters} != {*names}:  # a constructor of its own
        raise _NoPlainForm(kind.__name__)
    init_args = {name: _plain(getattr(settings, name)) for name in names}
    if kind.__mro__[1] is object:  # named by its place, not chosen among subclasses
        return init_args
    return {"class_path": public_path(kind), "init_args": init_args}


def public_path(kind: type) -> str:
    """Return the import path of a class from the outermost package that exports it, which stays where the class moves.

    Objectives, references and schedules of the package are `dpo_lightning.DPO` and the like; a class that no package
    exports is named by its own file.
    """
    parts = kind.__module__.split(".")
    places = [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    exporting = [place for place in places if getattr(sys.modules.get(place), kind.__name__, None) is kind]
    return f"{exporting[0]}.{kind.__name__}" if exporting else f"{kind.__module__}.{kind.__qualname__}"
