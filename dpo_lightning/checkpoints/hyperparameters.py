"""Hyperparameters of a module: those that a checkpoint can hold, and what is said of the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import is_dataclass
from typing import Any, NoReturn

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn

from dpo_lightning.checkpoints.constructors import default_of, is_annotated, is_default, takes
from dpo_lightning.checkpoints.held_arguments import HeldForm, held_form
from dpo_lightning.checkpoints.plain_form import NoPlainForm, plain_optimizer
from dpo_lightning.checkpoints.whole_form import is_same
from dpo_lightning.compat.lightning_checkpoints import DATA_HYPER_PARAMETERS, INSTANTIATOR, INSTANTIATOR_KEY
from dpo_lightning.errors import InputError
from dpo_lightning.losses import AnyObjective
from dpo_lightning.reference import LostReference, Reference, in_memory_only
from dpo_lightning.run import HeldArguments
from dpo_lightning.training import Schedule
from dpo_lightning.utils.secrets import masked


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


def plain_hyperparameters(hparams: MutableMapping[str, Any], owner: type | None = None) -> HeldArguments:
    """Turn settings objects into config form in place, and take out what has none (modules, callables).

    A checkpoint with an object in it is written without complaint and refused on resume, since torch loads plain types
    only: an enum that is a string or numpy's float64, which is a float, are objects too. Settings objects are
    dataclasses, whose fields are their init arguments.

    Args:
        hparams: Arguments by name.
        owner: The class that they construct; without it, any is an argument, and none the default.

    Returns:
        What a checkpoint holds of them. A default comes back by itself and is not lost, nor is what the constructor
        does not take: the class makes it.

    Raises:
        InputError: for a reference or a schedule without config form.
    """
    forms, errors = _forms(hparams, owner or object)
    for name in list(hparams):
        if name in forms:
            hparams[name] = forms[name].plain
        else:
            del hparams[name]
    lost = {name: error for name, error in errors.items() if _is_missed(owner, name, error[0])}
    for name, error in lost.items():
        _tell(name, *error)
    hparams.setdefault(INSTANTIATOR_KEY, INSTANTIATOR)
    return _held(forms, lost)


def held_arguments(hparams: Mapping[str, Any], owner: type) -> HeldArguments:
    """Return the arguments that a checkpoint holds, and those that it does not.

    Args:
        hparams: Arguments by name, as they were given or plain already.
        owner: The class that they construct.
    """
    forms, errors = _forms(hparams, owner)
    return _held(forms, {name: error for name, error in errors.items() if _is_missed(owner, name, error[0])})


def held_again(before: HeldArguments, hparams: Mapping[str, Any], owner: type) -> HeldArguments:
    """Return the arguments as they are now: a subclass may have saved them once more, or changed one.

    Args:
        before: What `plain_hyperparameters` returned.
        hparams: Arguments by name, as they were given or plain already.
        owner: The class that they construct.
    """
    kept = {name for name, plain in before.plain.items() if name in hparams and is_same(plain, hparams[name])}
    anew = held_arguments({name: value for name, value in hparams.items() if name not in kept}, owner)
    found = {**before.plain, **anew.plain}
    plain = {name: value for name, value in found.items() if name in kept or name in anew.plain}
    whole = {name: form for name, form in before.whole.items() if name in kept}
    lost = {name: kind for name, kind in before.lost.items() if name not in plain}
    return HeldArguments(plain, {**whole, **anew.whole}, {**lost, **anew.lost})


def logged_hyperparameters(hparams: Mapping[str, Any], owner: type) -> dict[str, Any]:
    """Return the arguments as loggers write them: plain, and a dtype by its name, since YAML has none."""
    return {name: _dtypes_named(value) for name, value in held_arguments(hparams, owner).plain.items()}


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
    taken = [name for name in names if name in hparams and takes(owner, name)]
    return {name: _kind_of(hparams[name]) for name in taken if not _is_plain_default(owner, name, hparams[name])}


def _kind_of(plain: Any) -> str:
    path = plain.get("class_path") if isinstance(plain, Mapping) else None
    return str(path).rpartition(".")[2] if path else type(plain).__name__


def _is_plain_default(owner: type, name: str, value: Any) -> bool:
    try:
        return is_same(held_form(owner, name, default_of(owner, name)).plain, value)
    except NoPlainForm:
        return False


_Unheld = tuple[Any, NoPlainForm]


def _forms(hparams: Mapping[str, Any], owner: type) -> tuple[dict[str, HeldForm], dict[str, _Unheld]]:
    forms, errors = {}, {}
    for name, value in hparams.items():
        try:
            _check_readable(owner, name, value)
            forms[name] = held_form(owner, name, value)
        except NoPlainForm as error:
            errors[name] = (value, error)
    return forms, errors


def _held(forms: Mapping[str, HeldForm], lost: Mapping[str, _Unheld]) -> HeldArguments:
    plain = {INSTANTIATOR_KEY: INSTANTIATOR, **{name: form.plain for name, form in forms.items()}}
    whole = {name: form.whole for name, form in forms.items() if form.whole is not None}
    return HeldArguments(plain, whole, {name: _named(*error) for name, error in lost.items()})


def _check_readable(owner: type, name: str, value: Any) -> None:
    if plain_optimizer(value) and not is_annotated(owner, name):
        whole = f"{type(value).__name__} in an argument without a type: annotate it as OptimizerCallable"
        raise NoPlainForm(type(value).__name__, whole=whole)


def _is_missed(owner: type | None, name: str, value: Any) -> bool:
    """Tell what a load must be given; the base model of a lost reference may be there by then."""
    if isinstance(value, LostReference):
        return False
    return owner is None or (takes(owner, name) and not is_default(owner, name, value))


def _named(value: Any, error: NoPlainForm) -> str:
    return value.kind if isinstance(value, LostOptimizer) else error.whole or type(value).__name__


def _tell(name: str, value: Any, error: NoPlainForm) -> None:
    if in_memory_only(value):
        return
    if isinstance(value, Reference | Schedule):
        held: list[object] = [*vars(value).values()] if is_dataclass(value) else []
        is_model = any(isinstance(each, nn.Module) for each in held)
        plain = ": give the name or directory of a model" if is_model else ""
        remedy = error.why or plain or ": make it a frozen dataclass, whose fields are its settings"
        raise InputError(f"{name} {type(value).__name__}: a checkpoint cannot hold {error.culprit}{remedy}")
    if isinstance(value, AnyObjective):
        why = (
            f"a checkpoint cannot hold {error.culprit}{error.why}" if error.why else f"{error.culprit} is no dataclass"
        )
        rank_zero_warn(f"{why}: pass it to load_from_checkpoint again")
