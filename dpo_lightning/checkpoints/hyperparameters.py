"""Hyperparameters of a module: those that a checkpoint can hold, and what is said of the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, NoReturn

import torch
from lightning.pytorch.utilities import rank_zero_warn

from dpo_lightning.checkpoints.constructors import arguments_of, default_of, is_annotated, is_default
from dpo_lightning.checkpoints.plain_form import NoPlainForm, plain_form, plain_optimizer
from dpo_lightning.compat.lightning_checkpoints import DATA_HYPER_PARAMETERS, INSTANTIATOR, INSTANTIATOR_KEY
from dpo_lightning.errors import InputError
from dpo_lightning.losses import AnyObjective
from dpo_lightning.reference import LostReference, Reference, in_memory_only
from dpo_lightning.training import Schedule
from dpo_lightning.utils.secrets import is_secret, masked, without_secrets


def mask_data_arguments(checkpoint: MutableMapping[str, Any]) -> None:
    """Put `***` in place of secrets among the arguments of a DataModule that saves its own, in place."""
    if DATA_HYPER_PARAMETERS in checkpoint:
        checkpoint[DATA_HYPER_PARAMETERS] = masked(checkpoint[DATA_HYPER_PARAMETERS])


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
        return bool(plain_form(default_of(owner, name)) == value)
    except NoPlainForm:
        return False


def _made_plain(hparams: MutableMapping[str, Any], owner: type | None) -> dict[str, tuple[Any, NoPlainForm]]:
    lost = {}
    for name, value in list(hparams.items()):
        try:
            hparams[name] = _without_secrets(name, plain_form(value))
            _check_readable(owner, name, value)
        except NoPlainForm as error:
            del hparams[name]
            if _is_missed(owner, name, value):
                lost[name] = (value, error)
    hparams.setdefault(INSTANTIATOR_KEY, INSTANTIATOR)
    return lost


def _without_secrets(name: str, plain: Any) -> Any:
    if plain is not None and is_secret(name):
        raise NoPlainForm(type(plain).__name__, whole="secret")
    return without_secrets(plain, name)


def _check_readable(owner: type | None, name: str, value: Any) -> None:
    if owner is not None and plain_optimizer(value) and not is_annotated(owner, name):
        whole = f"{type(value).__name__} in an argument without a type: annotate it as OptimizerCallable"
        raise NoPlainForm(type(value).__name__, whole=whole)


def _is_missed(owner: type | None, name: str, value: Any) -> bool:
    """Tell what a load must be given; the base model of a lost reference may be there by then."""
    if isinstance(value, LostReference):
        return False
    return owner is None or (name in arguments_of(owner) and not is_default(owner, name, value))


def _named(value: Any, error: NoPlainForm) -> str:
    return value.kind if isinstance(value, LostOptimizer) else error.whole or type(value).__name__


def _tell(name: str, value: Any, error: NoPlainForm) -> None:
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
