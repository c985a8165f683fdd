"""Hyperparameters that a checkpoint can hold: plain types, in the form that the command's configs have."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from typing import Any, NoReturn

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch.optim import Optimizer

from dpo_lightning.checkpoints.constructors import arguments_of, default_of, is_annotated, is_default
from dpo_lightning.compat.jsonargparse import class_made
from dpo_lightning.compat.lightning_checkpoints import INSTANTIATOR, INSTANTIATOR_KEY
from dpo_lightning.errors import InputError
from dpo_lightning.losses import AnyObjective
from dpo_lightning.reference import LostReference, Reference, in_memory_only
from dpo_lightning.training import Schedule
from dpo_lightning.utils.text import one_line

_SCALARS = (int, float, str)
_LOADABLE = (*_SCALARS, bool, type(None), torch.dtype)


class _NoPlainForm(Exception):  # noqa: N818 - caught here, never shown
    """A module, a callable, or another object that is no setting.

    Attributes:
        culprit: Name of the object's class, for `whole` inside what was given.
        why: What follows the name, such as that its class is inside a function.
        whole: What is said of the argument; None for its class.
    """

    def __init__(self, culprit: str, why: str = "", whole: str | None = None) -> None:
        super().__init__(culprit)
        self.culprit, self.why, self.whole = culprit, why, whole


class LostOptimizer:
    """Stand-in for an optimizer that a checkpoint could not hold, for a module that does not train.

    Args:
        kind: What it was.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, parameters: Any) -> NoReturn:
        """Refuse to train with an optimizer that is not the run's.

        Raises:
            InputError: saying what to give.
        """
        raise InputError(
            f"the checkpoint that the module was loaded from could not hold its optimizer, a {self.kind}: "
            "load_from_checkpoint(..., optimizer=it); functools.partial(AdamW, lr=...) would be held"
        )


def plain_hyperparameters(hparams: MutableMapping[str, Any], owner: type | None = None) -> dict[str, str]:
    """Turn settings objects into config form in place, and take out what has none (modules, callables).

    A checkpoint with an object in it is written without complaint and refused on resume, since torch loads plain types
    only: an enum that is a string or numpy's float64, which is a float, are objects too. Settings objects are
    dataclasses, whose fields are their init arguments.

    Args:
        hparams: Arguments by name.
        owner: The class that they construct; without it, any is an argument, and none the default.

    Returns:
        The arguments that were taken out, by name, with the class of each. A default comes back by itself and is none,
        nor is what the constructor does not take: the class makes it.

    Raises:
        InputError: for a reference or a schedule without config form.
    """
    lost = {}
    for name, error in _made_plain(hparams, owner).items():
        _tell(name, *error)
        lost[name] = _named(*error)
    return lost


def held_hyperparameters(hparams: Mapping[str, Any], owner: type) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the arguments that a checkpoint holds, in plain form, and those that it does not, with their classes.

    Args:
        hparams: Arguments by name, as they were given or plain already.
        owner: The class that they construct.
    """
    held = dict(hparams)
    return held, {name: _named(*error) for name, error in _made_plain(held, owner).items()}


def logged_hyperparameters(hparams: Mapping[str, Any], owner: type) -> dict[str, Any]:
    """Return the arguments as loggers write them: plain, and a dtype by its name, since YAML has none."""
    return {name: _dtypes_named(value) for name, value in held_hyperparameters(hparams, owner)[0].items()}


def _dtypes_named(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _dtypes_named(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_dtypes_named(item) for item in value]
    return str(value).removeprefix("torch.") if isinstance(value, torch.dtype) else value


def left_out(hparams: Mapping[str, Any], names: Iterable[str], owner: type) -> dict[str, str]:
    """Return the class of each argument that a subclass takes out of those held, unless it comes back by itself.

    Args:
        hparams: Arguments in plain form, by name.
        names: The arguments to take out.
        owner: The class that they construct.
    """
    taken = [name for name in names if name in hparams and name in arguments_of(owner)]
    return {name: _kind_of(hparams[name]) for name in taken if not _is_plain_default(owner, name, hparams[name])}


def _kind_of(plain: Any) -> str:
    path = plain.get("class_path") if isinstance(plain, Mapping) else None
    return str(path).rpartition(".")[2] if path else type(plain).__name__


def _is_plain_default(owner: type, name: str, value: Any) -> bool:
    try:
        return bool(_plain(default_of(owner, name)) == value)
    except _NoPlainForm:
        return False


def _made_plain(hparams: MutableMapping[str, Any], owner: type | None) -> dict[str, tuple[Any, _NoPlainForm]]:
    lost = {}
    for name, value in list(hparams.items()):
        try:
            hparams[name] = _plain(value)
            _check_readable(owner, name, value)
        except _NoPlainForm as error:
            del hparams[name]
            if _is_missed(owner, name, value):
                lost[name] = (value, error)
    hparams.setdefault(INSTANTIATOR_KEY, INSTANTIATOR)
    return lost


def _check_readable(owner: type | None, name: str, value: Any) -> None:
    if owner is not None and _plain_optimizer(value) and not is_annotated(owner, name):
        whole = f"{type(value).__name__} in an argument without a type: annotate it as OptimizerCallable"
        raise _NoPlainForm(type(value).__name__, whole=whole)


def _is_missed(owner: type | None, name: str, value: Any) -> bool:
    """Tell what a load must be given; the base model of a lost reference may be there by then."""
    if isinstance(value, LostReference):
        return False
    return owner is None or (name in arguments_of(owner) and not is_default(owner, name, value))


def _named(value: Any, error: _NoPlainForm) -> str:
    return value.kind if isinstance(value, LostOptimizer) else error.whole or type(value).__name__


def _tell(name: str, value: Any, error: _NoPlainForm) -> None:
    if in_memory_only(value):
        return
    if isinstance(value, Reference | Schedule):
        remedy = error.why or ": make it a frozen dataclass, whose fields are its settings"
        raise InputError(f"{name} {type(value).__name__}: a checkpoint cannot hold {error.culprit}{remedy}")
    if isinstance(value, AnyObjective):
        why = (
            f"a checkpoint cannot hold {error.culprit}{error.why}" if error.why else f"{error.culprit} is no dataclass"
        )
        rank_zero_warn(f"{why}: pass it to load_from_checkpoint again")


def _plain(value: Any) -> Any:
    if type(value) in _LOADABLE:
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return _config_form(value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _plain_optimizer(value) or _plain_scalar(value)


def _plain_optimizer(value: Any) -> dict[str, Any] | None:
    """Return the config form of an optimizer's class, or of a `partial` of it; None for anything else."""
    if isinstance(value, type):
        return {"class_path": _loadable_path(value), "init_args": {}} if issubclass(value, Optimizer) else None
    if not isinstance(value, partial) or not (made := class_made(value)) or not issubclass(made, Optimizer):
        return None
    init_args = {}
    for key, given in value.keywords.items():
        try:
            init_args[key] = _plain(given)
        except _NoPlainForm as error:
            culprit, whole = error.culprit, f"partial of {made.__name__}, whose {key} is a {error.culprit}"
            raise _NoPlainForm(culprit, error.why, whole) from error
    return {"class_path": _loadable_path(made), "init_args": init_args}


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
    if in_memory_only(settings) or {*inspect.signature(kind).parameters} != {*names}:  # a constructor of its own
        raise _NoPlainForm(kind.__name__)
    given = {name: getattr(settings, name) for name in names}
    init_args = {name: _plain(value) for name, value in given.items()}
    _check_made_again(kind, given, init_args)
    if kind.__mro__[1] is object:  # named by its place, not chosen among subclasses
        return init_args
    return {"class_path": _loadable_path(kind), "init_args": init_args}


def _check_made_again(kind: type, given: Mapping[str, Any], init_args: Mapping[str, Any]) -> None:
    """A `__post_init__` may change a field, and would do so once more when the checkpoint is loaded."""
    try:
        again = kind(**given)
    except Exception as error:
        raise _NoPlainForm(
            kind.__name__, f": it cannot be made again from its fields: {one_line(error, 100)}"
        ) from error
    for name, expected in init_args.items():
        if (found := _plain(getattr(again, name))) is not expected and found != expected:
            made = f"{kind.__name__}({name}={expected!r}) makes {name} {found!r}"
            why = f": {made}: let its __post_init__ leave the field as it is"
            raise _NoPlainForm(kind.__name__, why)


def _loadable_path(kind: type) -> str:
    found: Any = sys.modules.get(kind.__module__)
    for part in kind.__qualname__.split("."):
        found = getattr(found, part, None)
    path = public_path(kind)
    if found is not kind and path == f"{kind.__module__}.{kind.__qualname__}":
        why = f": nothing finds {path}: define the class at the top of a file"
        raise _NoPlainForm(kind.__name__, why, f"{kind.__name__}, whose class is not at the top of a file")
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
