"""The whole form of an argument: types that `torch.load` reads without code, with the kind that each value had."""

from __future__ import annotations

import inspect
import sys
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, get_args
from uuid import UUID

import numpy as np
import torch
from torch import Tensor

from dpo_lightning.checkpoints.plain_form import NoPlainForm, optimizer_settings
from dpo_lightning.errors import InputError
from dpo_lightning.utils.kinds import annotations_of
from dpo_lightning.utils.text import one_line

_AS_THEY_ARE = (type(None), bool, int, float, str, bytes, complex, torch.dtype, torch.device, torch.Size)
_ITEMS: Mapping[str, type] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
_PAIRS: Mapping[str, type] = {"dict": dict, "OrderedDict": OrderedDict, "Counter": Counter}
_TEXTS: Mapping[str, tuple[type, Any, Any]] = {
    "path": (type(Path()), str, Path),
    "posix path": (PurePosixPath, str, PurePosixPath),
    "windows path": (PureWindowsPath, str, PureWindowsPath),
    "datetime": (datetime, datetime.isoformat, datetime.fromisoformat),
    "date": (date, date.isoformat, date.fromisoformat),
    "time": (time, time.isoformat, time.fromisoformat),
    "decimal": (Decimal, str, Decimal),
    "fraction": (Fraction, str, Fraction),
    "timedelta": (
        timedelta,
        lambda span: f"{span.days} {span.seconds} {span.microseconds}",
        lambda text: timedelta(*map(int, text.split())),
    ),
    "uuid": (UUID, str, UUID),
}
_LONGEST_TENSOR = 100_000  # elements; a bigger one is a weight, and no setting


def whole_form(value: Any) -> tuple[Any, ...]:
    """Return the whole form of a value: a name of its kind, and what `restored` makes the value of.

    Raises:
        NoPlainForm: for what has none, such as a function or a module, and for a class that nothing finds.
    """
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return ("is", value)
    if kind in _ITEMS.values():
        return (kind.__name__, [whole_form(item) for item in value])
    if kind in _PAIRS.values():
        return (kind.__name__, [(whole_form(key), whole_form(item)) for key, item in value.items()])
    for name, (text_kind, text, _) in _TEXTS.items():
        if kind is text_kind:
            return (name, text(value))
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return _numbers(value)
    return _of_a_class(value)


def _numbers(value: Any) -> tuple[Any, ...]:
    if isinstance(value, np.generic):
        item = value.item()
        if type(item) in (bool, int, float, complex, str, bytes):
            return ("number", value.dtype.str, item)
        raise NoPlainForm(type(value).__name__)
    tensor = value
    if type(value) is np.ndarray and value.dtype.kind in "biufc":
        tensor = torch.from_numpy(value.copy())
    is_setting = type(tensor) is Tensor and not tensor.requires_grad and tensor.device.type == "cpu"
    if not is_setting or tensor.layout is not torch.strided or tensor.numel() > _LONGEST_TENSOR:
        raise NoPlainForm(type(value).__name__)
    return ("tensor" if tensor is value else "array", tensor.clone())


def _of_a_class(value: Any) -> tuple[Any, ...]:
    kind = type(value)
    if isinstance(value, Enum):
        return ("enum", *_place(kind), whole_form(value.value))
    if is_dataclass(value):
        names = [field.name for field in fields(value) if field.init]
        if {*inspect.signature(kind).parameters} != {*names}:  # a constructor of its own
            raise NoPlainForm(kind.__name__)
        return ("dataclass", *_place(kind), {name: whole_form(getattr(value, name)) for name in names})
    if _is_named_tuple(kind):
        return ("named tuple", *_place(kind), [whole_form(item) for item in value])
    raise NoPlainForm(kind.__name__)


def _is_named_tuple(kind: type) -> bool:
    return issubclass(kind, tuple) and kind.__mro__[1] is tuple and hasattr(kind, "_fields")


def _place(kind: type) -> tuple[str, str]:
    if _imported(kind.__module__, kind.__qualname__) is not kind:
        why = f": nothing finds {kind.__module__}.{kind.__qualname__}: define the class at the top of a file"
        raise NoPlainForm(kind.__name__, why, f"{kind.__name__}, whose class is not at the top of a file")
    return kind.__module__, kind.__qualname__


def _imported(module: str, name: str) -> Any:
    """Return what the program has imported; None where there is nothing. A module's own `__getattr__` may import."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = None if found is None else vars(found).get(part)
    return found


def restored(form: Any, known: Iterable[type] = ()) -> Any:
    """Return the value of a whole form.

    Args:
        form: What `whole_form` returned.
        known: Classes that the constructor names, which count wherever they are defined now.

    Raises:
        InputError: for a class that is not among them and was not imported, and for what is no whole form.
    """
    return _Restore({kind.__qualname__: kind for kind in known})(form)


class _Restore:
    def __init__(self, known: Mapping[str, type]) -> None:
        self._known = known

    def __call__(self, form: Any) -> Any:
        try:
            return self._value(*form)
        except InputError:
            raise
        except (TypeError, ValueError, KeyError, ArithmeticError, AttributeError) as error:
            raise InputError(f"its whole form {one_line(repr(form), 80)} is none: {one_line(error, 100)}:") from error

    def _value(self, name: str, *rest: Any) -> Any:
        if name in _ITEMS:
            return _ITEMS[name](self(item) for item in rest[0])
        if name in _PAIRS:
            return _PAIRS[name]({self(key): self(item) for key, item in rest[0]})
        if name in _TEXTS:
            return _TEXTS[name][2](rest[0])
        return _MADE[name](self, *rest)

    def as_it_is(self, value: Any) -> Any:
        """Return a value that needs no form."""
        return value

    def enum(self, module: str, name: str, value: Any) -> Any:
        """Return the member of an enum with a value."""
        return self._class(module, name, lambda kind: issubclass(kind, Enum))(self(value))

    def dataclass(self, module: str, name: str, values: Mapping[str, Any]) -> Any:
        """Make an object of a dataclass of its fields."""
        kind = self._class(module, name, is_dataclass)
        return kind(**{key: self(each) for key, each in values.items()})

    def named_tuple(self, module: str, name: str, values: Iterable[Any]) -> Any:
        """Make a named tuple of its items."""
        return self._class(module, name, _is_named_tuple)(*(self(each) for each in values))

    def _class(self, module: str, name: str, is_right: Any) -> Any:
        found = self._known.get(name, _imported(module, name))
        if isinstance(found, type) and is_right(found):
            return found
        raise InputError(
            f"{module}.{name} is no such class, or was not imported: import {module} first if you trust it, or"
        )


_MADE: Mapping[str, Any] = {
    "is": _Restore.as_it_is,
    "tensor": _Restore.as_it_is,
    "number": lambda _, dtype, item: np.dtype(dtype).type(item),
    "array": lambda _, tensor: tensor.numpy().copy(),
    "enum": _Restore.enum,
    "dataclass": _Restore.dataclass,
    "named tuple": _Restore.named_tuple,
}


def is_same(one: Any, other: Any) -> bool:
    """Tell whether two arguments are of one kind and equal, also inside; 1 and 1.0 are one number."""
    try:
        return _is_same(one, other)
    except Exception:  # a class of the user's may compare as it likes
        return False


def _is_same(one: Any, other: Any) -> bool:
    settings, others = optimizer_settings(one), optimizer_settings(other)
    if settings is not None and others is not None:
        return settings[0] is others[0] and _is_same(settings[1], others[1])
    if type(one) is not type(other):
        return {type(one), type(other)} == {int, float} and bool(one == other)
    return _are_equal(one, other)


def _are_equal(one: Any, other: Any) -> bool:
    """Compare two values of one type."""
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.allclose(one, other, 0, 0, equal_nan=True)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")
    if isinstance(one, list | tuple):
        return _are_same(one, other)
    if isinstance(one, Mapping):
        return _are_same([*one.items()], [*other.items()])
    if is_dataclass(one) and not isinstance(one, type):
        return all(_is_same(getattr(one, each.name), getattr(other, each.name)) for each in fields(one))
    return repr(one) == repr(other) if isinstance(one, float | complex) else bool(one == other)


def _are_same(some: Any, others: Any) -> bool:
    return len(some) == len(others) and all(map(_is_same, some, others))


def classes_named(hint: Any) -> set[type]:
    """Return the classes that an annotation names, and those in the annotations of the dataclasses among them."""
    found: set[type] = set()
    waiting = [hint]
    while waiting:
        each = waiting.pop()
        waiting += get_args(each)
        if isinstance(each, type) and each not in found:
            found.add(each)
            waiting += annotations_of(each).values() if is_dataclass(each) else ()
    return found


def opened(value: Any) -> Any:
    """Return a value with objects of dataclasses as their fields and collections as lists, for who looks inside."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: opened(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: opened(item) for key, item in value.items()}
    return [opened(item) for item in value] if isinstance(value, list | tuple | set | frozenset) else value


def shown(value: Any) -> Any:
    """Return a value without a plain form as people and loggers read it: texts, in mappings and lists."""
    if isinstance(value, Mapping):
        return {str(key): shown(item) for key, item in value.items()}
    if type(value) in (set, frozenset):
        return sorted(one_line(repr(item), 200) for item in value)
    if isinstance(value, list | tuple):
        return [shown(item) for item in value]
    return value if type(value) in (type(None), bool, int, float, str) else one_line(repr(value), 200)
