"""Limits of what a checkpoint's settings may do: they name no code that the caller has not."""

from __future__ import annotations

import inspect
import pydoc
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from importlib.util import find_spec
from typing import Any, NamedTuple, get_type_hints

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dpo_lightning.checkpoints.contents import HYPER_PARAMETERS
from dpo_lightning.compat.lightning_checkpoints import (
    CLASS_KEY,
    HYPER_PARAMETERS_NAME,
    INSTANTIATOR,
    INSTANTIATOR_KEY,
    PAST_HYPER_PARAMETERS,
)
from dpo_lightning.errors import InputError
from dpo_lightning.losses import AnyObjective
from dpo_lightning.reference import Reference
from dpo_lightning.training import Schedule
from dpo_lightning.utils.kinds import members_of, takes_text

_PACKAGE = __name__.partition(".")[0]
_OPTIMIZERS = ("torch.optim.", "transformers.optimization.", "transformers.Adafactor", "bitsandbytes.optim.")
_KINDS = (AnyObjective, Reference, Schedule, Optimizer, LRScheduler, nn.Module)
_CLASS_KEYS = ("class_path", CLASS_KEY)
_CODE_KEYS = ("trust_remote_code", "use_kernels", "kernel_config", "allow_all_kernels")
_CONFIG = re.compile(r"""class_path["']?\s*:""")  # the parser reads YAML in a text
_ARGUMENTS = ("init_args", "dict_kwargs")
_ANOTHER = "load_from_checkpoint(..., {argument}=another)"
_REMEDY = "load_from_checkpoint(..., {argument}=...), or export's --config,"


class CodeSetting(NamedTuple):
    """A setting with which loading a model runs code that lies beside it.

    Attributes:
        model: The model's name or directory, where the settings around it say it.
        place: The keys on the way, joined by dots.
        value: What it says.
    """

    model: str | None
    place: str
    value: Any


def saved_arguments(saved: Mapping[str, Any], owner: type, name: str) -> dict[str, Any]:
    """Return the constructor arguments of a checkpoint, as Lightning would hand them over.

    Args:
        saved: The checkpoint.
        owner: The class that they construct.
        name: What an error calls the checkpoint.

    Raises:
        InputError: for arguments under a key, or of a form, in which no version of this package writes them.
    """
    arguments = saved.get(HYPER_PARAMETERS) or {}
    past = [key for key in PAST_HYPER_PARAMETERS if saved.get(key)]
    if past or not isinstance(arguments, Mapping):
        place = past[0] if past else HYPER_PARAMETERS
        raise InputError(f"checkpoint {name}: its key {place!r} is none that this package writes: take another one")
    arguments = dict(arguments)
    instantiator = arguments.pop(INSTANTIATOR_KEY, None)
    if instantiator not in (None, INSTANTIATOR):
        raise InputError(
            f"checkpoint {name} asks for {instantiator!r} to build its objects, which is not called: take another one"
        )
    under = saved.get(HYPER_PARAMETERS_NAME)
    takes = inspect.signature(owner.__init__).parameters.get(str(under))  # type: ignore[misc]
    is_whole = takes is not None and takes.kind not in (takes.VAR_KEYWORD, takes.VAR_POSITIONAL)
    return {str(under): arguments} if is_whole else arguments


def trusted_arguments(
    owner: type, saved: Mapping[str, Any], name: str, given: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Refuse a checkpoint whose settings ask for code that `load_from_checkpoint` was not given.

    Args:
        owner: The class that is built.
        saved: The checkpoint.
        name: What an error calls it.
        given: The arguments of the caller.

    Returns:
        The checkpoint's arguments without those given, and those among them that must be replaced: of a policy that the
        caller names, `trust_remote_code` and the like do not count, since they were said of another one.

    Raises:
        InputError: naming the class or the setting, and how to allow it.
    """
    arguments = {key: value for key, value in saved_arguments(saved, owner, name).items() if key not in given}
    replaced: dict[str, Any] = {}
    kwargs = arguments.get("model_kwargs")
    if "policy" in given and isinstance(kwargs, Mapping) and any(_code_in({"model_kwargs": kwargs})):
        replaced["model_kwargs"] = {key: value for key, value in kwargs.items() if not _runs_code(key, value)}
    arguments |= replaced
    refuse_code_settings(arguments, {}, f"checkpoint {name}", _REMEDY)
    refuse_unknown_classes(arguments, owner, f"checkpoint {name}")
    return arguments, replaced


def refuse_code_settings(
    settings: Mapping[str, Any], said: Mapping[str, Any], place: str, remedy: str = "--model.{argument} or a config"
) -> None:
    """Refuse `trust_remote_code` and the like, unless the caller says the same of the same model.

    Args:
        settings: Constructor arguments that a file brings.
        said: Those that the caller has said.
        place: What an error calls the file.
        remedy: How the caller says one, with `{argument}` for its name.

    Raises:
        InputError: naming the setting.
    """
    allowed = {(each.model, each.place, repr(each.value)) for each in _code_in(said)}
    for each in _code_in(settings):
        if (each.model, each.place, repr(each.value)) not in allowed:
            how = remedy.format(argument=each.place.partition(".")[0])
            of = "" if each.model is None else f" of {each.model}"
            raise InputError(
                f"{place} says {each.place}: {each.value!r}{of}, which runs code beside a model, and counts only where "
                f"you say it: {how} says so, or that it is off"
            )


def refuse_unknown_classes(settings: Mapping[str, Any], owner: type, place: str, remedy: str = _ANOTHER) -> None:
    """Refuse settings that would import a module, or call what is no class for them.

    A class counts that is this package's, an optimizer of torch, transformers or bitsandbytes, one that lies in the
    top-level package of the module's own class, or an objective, a reference, a schedule, an optimizer, a module or a
    dataclass that the program has imported.

    Args:
        settings: Constructor arguments that a file brings.
        owner: The class that they construct.
        place: What an error calls the file.
        remedy: How the caller gives an argument, with `{argument}` for its name.

    Raises:
        InputError: naming the class and how to allow it.
    """
    walk = _Walk(owner, place, remedy)
    if CLASS_KEY in settings:
        owner = walk.resolve(settings[CLASS_KEY], CLASS_KEY)
    for key, value in settings.items():
        if key != CLASS_KEY:
            walk(value, key, _hint(owner, key))


class _Walk:
    """A walk through settings that knows the type of each argument."""

    def __init__(self, owner: type, place: str, remedy: str) -> None:
        self._place, self._remedy = place, remedy
        self._roots = {_PACKAGE, owner.__module__.partition(".")[0]}

    def __call__(self, value: Any, key: str, hint: Any) -> None:
        if isinstance(value, Mapping):
            self._mapping(value, key, hint)
        elif isinstance(value, list | tuple | set | frozenset):
            for item in value:
                self(item, key, Any)
        elif isinstance(value, str) and (_CONFIG.search(value) or not takes_text(hint)):
            raise InputError(
                f"{self._place}: its {key}: the text {value[:100]!r} would be imported or read as a file: "
                f"{self._remedy.format(argument=key.partition('.')[0])}"
            )

    def _mapping(self, value: Mapping[Any, Any], key: str, hint: Any) -> None:
        named = [value[each] for each in _CLASS_KEYS if each in value]
        kinds = [self.resolve(each, key) for each in named]
        for name, item in value.items():
            if name in _CLASS_KEYS:
                continue
            inside = f"{key}.{name}"
            if kinds and name in _ARGUMENTS and isinstance(item, Mapping):
                for argument, each in item.items():
                    self(each, f"{inside}.{argument}", _hint(kinds[0], argument))
            else:
                fields = next((each for each in members_of(hint) if is_dataclass(each)), None)
                self(item, inside, _hint(fields, name) if isinstance(fields, type) else Any)

    def resolve(self, path: Any, key: str) -> type:
        """Return the class at a path; an InputError unless it may be taken."""
        found = self._found(path) if isinstance(path, str) else None
        if isinstance(found, type):
            return found
        remedy = self._remedy.format(argument=key.partition(".")[0])
        raise InputError(f"{self._place}: its {key}: {_why_not(str(path)[:200])}{remedy}")

    def _found(self, path: str) -> type | None:
        path = path if "." in path else f"{_PACKAGE}.{path}"
        found = _imported(path)
        in_package = path.partition(".")[0] in self._roots
        if found is None and (in_package or path.startswith(_OPTIMIZERS)):
            with suppress(Exception):  # a broken module raises anything
                found = pydoc.locate(path)
        if not isinstance(found, type):
            return None
        return found if in_package or issubclass(found, _KINDS) or is_dataclass(found) else None


def _why_not(path: str) -> str:
    """Say why a path names no class that may be taken, without importing any part of it."""
    module, _, name = path.rpartition(".")
    root = module.partition(".")[0]
    try:
        is_there = bool(root) and (root in sys.modules or find_spec(root) is not None)
    except (ImportError, ValueError):
        is_there = False
    if not is_there:
        return f"no class {path!r}: No module named {root or name!r}: "
    return (
        f"{path!r} is no class of this package or of your module's, and none that was imported before: import {module} "
        "first if you trust it, or "
    )


def _imported(path: str) -> Any:
    """Return what the program has imported already at a path; None where there is nothing."""
    parts = path.split(".")
    for depth in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:depth]))
        if found is None:
            continue
        for part in parts[depth:]:
            with suppress(Exception):
                found = getattr(found, part)
                continue
            return None
        return found
    return None


def _code_in(settings: Any, model: str | None = None, place: str = "") -> Iterator[CodeSetting]:
    if isinstance(settings, list | tuple):
        for item in settings:
            yield from _code_in(item, model, place)
    if not isinstance(settings, Mapping):
        return
    named = settings.get("checkpoint", settings.get("policy", model))
    model = named if isinstance(named, str) else model
    for key, value in settings.items():
        inside = f"{place}.{key}" if place else str(key)
        if _runs_code(key, value):
            yield CodeSetting(model, inside, value)
        yield from _code_in(value, model, inside)


def _runs_code(key: Any, value: Any) -> bool:
    """Tell what makes transformers run a file: beside the model, from the hub as a kernel, or inside a pickle."""
    if key in _CODE_KEYS:
        return value not in (False, None)
    if key == "weights_only":
        return value not in (True, None)
    return str(key).endswith("attn_implementation") and "/" in str(value)


def _hint(owner: Any, name: str) -> Any:
    """Return the type of a constructor argument, from the outermost signature that has it; Any for an unknown one."""
    for each in owner.__mro__ if isinstance(owner, type) else ():
        init = vars(each).get("__init__")
        parameters = inspect.signature(init).parameters if callable(init) else {}
        if name in parameters:
            with suppress(Exception):  # a class of the user's may hint what is not there
                return get_type_hints(init).get(name, Any)
            return parameters[name].annotation
    return Any
