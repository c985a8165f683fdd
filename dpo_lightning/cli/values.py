"""Checks of a parsed config: values that the parser takes, and that mean nothing."""

from __future__ import annotations

import inspect
import math
import os
import pydoc
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import nn

from dpo_lightning.cli.missing import class_in, missing_device, missing_package
from dpo_lightning.cli.other_names import OBJECTS, here
from dpo_lightning.errors import DPOLightningError, InputError
from dpo_lightning.utils.kinds import argument_annotations, in_words, takes_null
from dpo_lightning.utils.settings import NOT_NEGATIVE, SEED, Rule, at_least
from dpo_lightning.utils.text import one_line

_INTERVAL = Rule("a whole number of batches, or a share above 0", lambda value: 0 < value < math.inf)
# Lightning makes a list of the devices, and torch a thread for each: beyond any machine, both end its memory.
_MOST_DEVICES = Rule("at most 4096", lambda value: value <= 4096)
_PROCESSES_OF_A_CORE = 4
_THREADS = Rule("from 1 to 4096", lambda value: 1 <= value <= 4096)

_TRAINER = {
    "devices": _MOST_DEVICES,
    **dict.fromkeys(("accumulate_grad_batches", "check_val_every_n_epoch"), at_least(1)),
    "num_nodes": Rule("from 1 to 65536", lambda value: 1 <= value <= 65536),
    **dict.fromkeys(("log_every_n_steps", "reload_dataloaders_every_n_epochs"), at_least(0)),
    **dict.fromkeys(("min_steps", "min_epochs", "fast_dev_run", "overfit_batches"), at_least(0)),
    **dict.fromkeys(("max_steps", "max_epochs", "num_sanity_val_steps"), at_least(-1)),
    "gradient_clip_val": Rule("a number of at least 0", lambda value: value >= 0),
    "val_check_interval": _INTERVAL,
    **dict.fromkeys(("limit_train_batches", "limit_val_batches"), NOT_NEGATIVE),
    **dict.fromkeys(("limit_test_batches", "limit_predict_batches"), NOT_NEGATIVE),
}
"""Ranges of the Trainer's numbers. It checks some by itself, and would run with the others, or die of them later."""


def check_values(config: Mapping[str, Any]) -> None:
    """Check what the parser has read for a command.

    Raises:
        InputError: for NaN anywhere, null where the argument takes none, and numbers of the process and of the Trainer
            out of their range, by the key.
    """
    trainer = config.get("trainer")
    if not isinstance(trainer, Mapping):
        raise InputError(f"trainer: {trainer!r:.80} is no mapping: give its settings by name, or leave it out")
    for key, value in _leaves(config):
        if isinstance(value, float) and math.isnan(value):
            raise InputError(f"{key}: NaN is no setting: write a number")
    for name, rule in {"torch_threads": _THREADS, "seed_everything": SEED}.items():
        _check(name, config.get(name), rule)
    _check_trainer(trainer)
    for key, kind, arguments in _objects(config):
        if kind is nn.Module:
            raise InputError(f"{key}: a bare Module computes nothing: give a name, or the class_path of a model")
        _check_nulls(kind, arguments, key)


def _check_trainer(trainer: Mapping[str, Any]) -> None:
    for name, rule in _TRAINER.items():
        _check(f"trainer.{name}", trainer.get(name), rule)
    _check_devices(trainer.get("devices"), trainer.get("accelerator"))
    strategy = trainer.get("strategy")
    if isinstance(strategy, str) and (known := here(strategy, OBJECTS)):
        raise InputError(f"trainer.strategy: no strategy {strategy}{known.rstrip(',')}")
    for name in ("max_time", "val_check_interval"):
        _check_duration(f"trainer.{name}", trainer.get(name))
    _check_nulls(Trainer, trainer, "trainer")
    if trainer.get("gradient_clip_algorithm") is not None and trainer.get("gradient_clip_val") is None:
        raise InputError("trainer.gradient_clip_algorithm: nothing is clipped: set trainer.gradient_clip_val as well")


def _check_devices(devices: object, accelerator: object) -> None:
    """Refuse more processes than a CPU can run: Lightning starts them all, and they wait for each other for ever."""
    if isinstance(devices, str) and devices.strip().isdecimal():
        devices = int(devices)
        _MOST_DEVICES.check("trainer.devices", devices)
    is_cpu = accelerator == "cpu" or (accelerator in (None, "auto") and not torch.accelerator.is_available())
    most = (os.cpu_count() or 1) * _PROCESSES_OF_A_CORE
    if is_cpu and isinstance(devices, int) and devices > most:
        raise InputError(
            f"trainer.devices: {devices} processes on {os.cpu_count()} cores of a CPU: take at most {most}"
        )


def _check(key: str, value: object, rule: Rule) -> None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        rule.check(key, value)


def _check_duration(key: str, value: object) -> None:
    remedy = "write numbers of days, hours, minutes and seconds, or DD:HH:MM:SS, as 00:12:00:00"
    if isinstance(value, str) and re.fullmatch(r"\d+:\d\d:\d\d:\d\d", value.strip()) is None:
        raise InputError(f"{key}: {value!r:.80} is no duration: {remedy}")
    if not isinstance(value, Mapping):
        return
    if not value:
        raise InputError(f"{key}: no time at all: {remedy}")
    try:
        timedelta(**value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{key}: {one_line(error)}: {remedy}") from None


def _check_nulls(kind: Any, arguments: Mapping[str, Any], place: str) -> None:
    """Refuse null for an argument that does not take it; the parser lets it pass wherever it stands."""
    try:
        hints, known = argument_annotations(kind), inspect.signature(kind).parameters
    except ValueError:  # of a class written in C, such as the Tensor that the parser makes of an empty mapping
        raise InputError(f"{place}: a {kind.__name__} cannot be written in a config: write a number") from None
    for name in arguments.keys() & hints.keys() & known.keys():
        if arguments[name] is None and known[name].default is not None and not takes_null(hints[name]):
            raise InputError(f"{place}.{name} must be {in_words(hints[name])}, got null: leave it out for the default")


def _objects(value: object, key: str = "") -> Iterator[tuple[str, type, Mapping[str, Any]]]:
    """Yield key, class and arguments of each object that a config asks for."""
    if isinstance(value, Mapping):
        kind = pydoc.locate(value["class_path"]) if isinstance(value.get("class_path"), str) else None
        if isinstance(kind, type):
            yield key, kind, value.get("init_args") or {}
        for name, inner in value.items():
            yield from _objects(inner, key if name == "init_args" else f"{key}.{name}".lstrip("."))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _objects(inner, f"{key}[{number}]")


def _leaves(value: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Yield each value with its key as the command line has it: without `init_args`."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, key if name == "init_args" else f"{key}.{name}".lstrip("."))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{key}[{number}]")
    else:
        yield key, value


@contextmanager
def refusals_of_others(config: Mapping[str, Any]) -> Iterator[None]:
    """Turn the refusal of a value by Lightning's or torch's constructors into one line with the key.

    A refusal by one of this package's objects gets the key in front. An error in a constructor of somebody else's class
    goes on as it is, with its traceback.

    Raises:
        InputError: naming the key, as far as the message tells which argument it is about.
    """
    try:
        yield
    except Exception as error:  # Lightning raises a dozen kinds
        own = next((each for each in _causes(error) if isinstance(each, InputError)), None)
        if own is not None and (keyed := _with_key(str(own), config)) is not None:
            raise InputError(keyed) from error
        found = next(filter(None, map(_refusal_of_others, _causes(error))), None)
        if package := missing_package(_causes(error)):
            raise InputError(_needs(package, error, found, config)) from error
        if found is None:
            raise
        refusal, made = found
        said = one_line(refusal)
        if remedy := missing_device(refusal):
            said = f"{said.rstrip('.!')}: {remedy}"
        raise InputError(f"{_place(made, config, str(refusal))}: {said}") from error


def _needs(
    package: str, error: BaseException, found: tuple[BaseException, type] | None, config: Mapping[str, Any]
) -> str:
    """Say which object needs a package, by its key: in a list of objects the parser's message alone names it."""
    made = None if found is None else found[1]
    name = class_in(error) or (made.__name__ if made is not None and not issubclass(made, Trainer) else None)
    key = next((key for key, kind, _ in _objects(config) if kind.__name__ == name), "trainer")
    return f"{key}: {package}" if name is None else f"{key}: {name} {package}"


def _with_key(said: str, config: Mapping[str, Any]) -> str | None:
    """Put the key before what an object says of itself, as `DPO.beta` or `schedule.warmup`; None where none is sure."""
    name = said.partition(".")[0]
    keys = [key for key, kind, _ in _objects(config) if kind.__name__ == name]
    if len(keys) == 1:
        return f"{keys[0]}: {said}"
    model = config.get("model") or {}
    return f"model.{said}" if name in (model.get("init_args") or {}) else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those behind it: the parser makes one of its own of an error in a list of objects."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _refusal_of_others(error: BaseException) -> tuple[BaseException, type] | None:
    made = None if isinstance(error, DPOLightningError) else _made(error.__traceback__)
    return (error, made) if made is not None and made.__module__.startswith(("lightning.", "torch.")) else None


def _made(trace: TracebackType | None) -> type | None:
    """Return the class whose constructor an error came out of, the outermost one."""
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        if trace.tb_frame.f_code.co_name == "__init__" and owner is not None:
            return type(owner)
        trace = trace.tb_next
    return None


def _place(made: type, config: Mapping[str, Any], message: str) -> str:
    """Find the key of the class, and of the argument that the message names or quotes the value of."""
    at, arguments = "trainer", config.get("trainer") or {}
    if not issubclass(made, Trainer):
        found = next(((key, given) for key, kind, given in _objects(config) if kind is made), None)
        if found is None:
            return made.__name__
        at, arguments = found
    given = {name: value for name, value in arguments.items() if value is not None}
    named = sorted((name for name in given if name in message), key=lambda name: (message.index(name), -len(name)))
    quoted = [name for name, value in given.items() if isinstance(value, str) and _quotes(message, value)]
    best = next(iter([*named, *quoted]), None)
    return at if best is None else f"{at}.{best}"


def _quotes(message: str, value: str) -> bool:
    """Tell whether a message holds a value; one of two letters may be part of a word, so it must stand in quotes."""
    forms = (value, repr(value)[1:-1]) if len(value) > 2 else (repr(value), f'"{value}"', f"`{value}`")
    return any(form.lower() in message.lower() for form in forms)
