"""Hyperparameters that a checkpoint can hold: plain types, in the form that the command's configs have."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import fields, is_dataclass
from typing import Any

# Lightning's own: `load_from_checkpoint` builds objects from `class_path` and `init_args` with it.
_INSTANTIATOR = "lightning.pytorch.cli.instantiate_module"
_PLAIN = (str, int, float, bool, list, tuple, dict, type(None))


def plain_hyperparameters(hparams: MutableMapping[str, Any]) -> None:
    """Turn settings objects into config form in place, and drop what has none (modules, callables).

    A checkpoint with an object in it is written without complaint and refused on resume, since torch loads plain types
    only. Settings objects are dataclasses, whose fields are their init arguments.
    """
    for name, value in list(hparams.items()):
        if is_dataclass(value):
            hparams[name] = _config_form(value)
        elif not isinstance(value, _PLAIN):
            del hparams[name]
    hparams.setdefault("_instantiator", _INSTANTIATOR)


def _config_form(settings: Any) -> dict[str, Any]:
    init_args = {field.name: getattr(settings, field.name) for field in fields(settings)}
    if type(settings).__mro__[1] is object:  # named by its place, not chosen among subclasses
        return init_args
    return {"class_path": f"{type(settings).__module__}.{type(settings).__qualname__}", "init_args": init_args}
