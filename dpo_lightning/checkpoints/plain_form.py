"""The plain form of a setting: types that a checkpoint can hold, as the command's configs write them."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from typing import Any

import torch
from torch.optim import Optimizer

from dpo_lightning.compat.jsonargparse import class_made
from dpo_lightning.reference import in_memory_only
from dpo_lightning.utils.text import one_line

_SCALARS = (int, float, str)
_LOADABLE = (*_SCALARS, bool, type(None), torch.dtype)


class NoPlainForm(Exception):  # noqa: N818 - caught in this room, never shown
    """A module, a callable, or another object that is no setting.

    Attributes:
        culprit: Name of the object's class, for `whole` inside what was given.
        why: What follows the name, such as that its class is inside a function.
        whole: What is said of the argument; None for its class.
    """

    def __init__(self, culprit: str, why: str = "", whole: str | None = None) -> None:
        super().__init__(culprit)
        self.culprit, self.why, self.whole = culprit, why, whole


def plain_form(value: Any) -> Any:
    """Return the plain form of a value, which an object of a dataclass has by the fields of its class.

    Raises:
        NoPlainForm: for what has none.
    """
    if type(value) in _LOADABLE:
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return _config_form(value)
    if isinstance(value, Mapping):
        return {_plain_key(key): plain_form(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_form(item) for item in value]
    return plain_optimizer(value) or _plain_scalar(value)


def _plain_key(key: Any) -> Any:
    if isinstance(plain := plain_form(key), list | dict):
        raise NoPlainForm("dict", whole=f"dict, one of whose keys is a {type(key).__name__}")
    return plain


def optimizer_settings(value: Any) -> tuple[type, dict[str, Any]] | None:
    """Return the class and all settings of an optimizer's class or a `partial` of it; None for anything else."""
    made = class_made(value) if isinstance(value, partial) else value
    if not isinstance(made, type) or not issubclass(made, Optimizer):
        return None
    defaults = {name: each.default for name, each in inspect.signature(made).parameters.items()}
    own = {name: default for name, default in defaults.items() if default is not inspect.Parameter.empty}
    return made, {**own, **(value.keywords if isinstance(value, partial) else {})}


def plain_optimizer(value: Any) -> dict[str, Any] | None:
    """Return the config form of an optimizer's class, or of a `partial` of it; None for anything else."""
    if isinstance(value, type):
        return {"class_path": _loadable_path(value), "init_args": {}} if issubclass(value, Optimizer) else None
    if not isinstance(value, partial) or not (made := class_made(value)) or not issubclass(made, Optimizer):
        return None
    init_args = {}
    for key, given in value.keywords.items():
        try:
            init_args[key] = plain_form(given)
        except NoPlainForm as error:
            culprit, whole = error.culprit, f"partial of {made.__name__}, whose {key} is a {error.culprit}"
            raise NoPlainForm(culprit, error.why, whole) from error
    return {"class_path": _loadable_path(made), "init_args": init_args}


def _plain_scalar(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Enum):
        return plain_form(value.value)
    for scalar in _SCALARS:
        if isinstance(value, scalar):
            return scalar(value)
    raise NoPlainForm(type(value).__name__)


def _config_form(settings: Any) -> dict[str, Any]:
    kind, names = type(settings), [field.name for field in fields(settings) if field.init]
    if in_memory_only(settings) or {*inspect.signature(kind).parameters} != {*names}:  # a constructor of its own
        raise NoPlainForm(kind.__name__)
    given = {name: getattr(settings, name) for name in names}
    init_args = {name: plain_form(value) for name, value in given.items()}
    _check_made_again(kind, given, init_args)
    if kind.__mro__[1] is object:  # named by its place, not chosen among subclasses
        return init_args
    return {"class_path": _loadable_path(kind), "init_args": init_args}


def _check_made_again(kind: type, given: Mapping[str, Any], init_args: Mapping[str, Any]) -> None:
    """A `__post_init__` may change a field, and would do so once more when the checkpoint is loaded."""
    try:
        again = kind(**given)
    except Exception as error:
        raise NoPlainForm(
            kind.__name__, f": it cannot be made again from its fields: {one_line(error, 100)}"
        ) from error
    for name, expected in init_args.items():
        if (found := plain_form(getattr(again, name))) is not expected and found != expected:
            made = f"{kind.__name__}({name}={expected!r}) makes {name} {found!r}"
            why = f": {made}: let its __post_init__ leave the field as it is"
            raise NoPlainForm(kind.__name__, why)


def _loadable_path(kind: type) -> str:
    found: Any = sys.modules.get(kind.__module__)
    for part in kind.__qualname__.split("."):
        found = getattr(found, part, None)
    path = public_path(kind)
    if found is not kind and path == f"{kind.__module__}.{kind.__qualname__}":
        why = f": nothing finds {path}: define the class at the top of a file"
        raise NoPlainForm(kind.__name__, why, f"{kind.__name__}, whose class is not at the top of a file")
    return path


def public_path(kind: type) -> str:
    """Return the import path of a class from the outermost package that exports it, which stays where the class moves.

    Objectives, references and schedules of the package are `dpo_lightning.DPO` and the like; a class that no package
    exports is named by its own file.
    """
    parts = kind.__module__.split(".")
    places = [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    exporting = [place for place in places if getattr(sys.modules.get(place), kind.__name__, None) is kind]
    return f"{exporting[0]}.{kind.__name__}" if exporting else f"{kind.__module__}.{kind.__qualname__}"
