"""Digests of objects by value: their code, their settings, and whatever of the user's own modules this code names.

The hash of an imported function or class is that of its name, so an edit would not show. Here a function is its byte
code, its defaults, its closure and the globals that it names; a class is its members; a module of the user's is what
the code takes out of it. What a library or Python itself has made is known by its name.
"""

from __future__ import annotations

import dis
import functools
import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import suppress
from enum import Enum
from hashlib import blake2b
from importlib.machinery import PathFinder
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis))
_BOOKKEEPING = frozenset(
    {
        *("__dict__", "__weakref__", "__doc__", "__annotations__", "__annotate__", "__annotate_func__"),
        *("__annotations_cache__", "__abstractmethods__", "_abc_impl", "__firstlineno__", "__static_attributes__"),
        *("__signature__", "__dataclass_fields__", "__dataclass_params__", "__match_args__"),
    }
)
_INSTALLED = ("site-packages", "dist-packages")


class ByValue:
    """Makes digests; equal ones stand for code that does the same.

    Args:
        packages: Top-level packages that count as the user's own although they are installed.
        foreign: Top-level packages that do not count, whatever they are.
    """

    def __init__(self, packages: Iterable[str] = (), foreign: Iterable[str] = ()) -> None:
        self._packages = frozenset(packages)
        self._foreign = frozenset(foreign)
        self._done: dict[int, tuple[str, Any]] = {}  # with the object, whose number would be given to another one
        self._open: list[int] = []

    def digest(self, value: Any) -> str:
        """Return the BLAKE2b-128 of an object, in hexadecimal; a plain value is spelled out."""
        if type(value) in _PLAIN:
            return f"{type(value).__name__} {value!r}"
        if id(value) in self._done:
            return self._done[id(value)][0]
        if id(value) in self._open:
            return f"itself, {len(self._open) - self._open.index(id(value))} further out"
        self._open.append(id(value))
        found = blake2b(repr(_parts(value, self)).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        self._open.pop()
        self._done[id(value)] = found, value
        return found

    def is_own(self, module: str | None) -> bool:
        """Return whether a module is the user's: neither Python's nor an installed one."""
        top = (module or "__main__").partition(".")[0]
        if top in self._packages or top == "__main__":
            return True
        if top in self._foreign or top in sys.stdlib_module_names:
            return False
        path = getattr(sys.modules.get(module or "") or sys.modules.get(top), "__file__", None) or ""
        return not any(each in path for each in _INSTALLED)

    def imported(self, name: str, package: str | None) -> ModuleType | None:
        """Return a module of the user's that a function imports when it is called."""
        for full in (f"{package}.{name}", name) if package else (name,):
            if full in sys.modules:
                return sys.modules[full] if self.is_own(full) else None
        spec = PathFinder.find_spec(name.partition(".")[0])
        origin = "" if spec is None else spec.origin or ""
        if not origin or not self.is_own(name) or any(each in origin for each in _INSTALLED):
            return None
        with suppress(Exception):  # whatever it is, the call will tell
            return importlib.import_module(name)
        return None


@functools.singledispatch
def _parts(value: Any, by: ByValue) -> Any:
    """Return what an object is made of, in plain types: by default, of an instance its class and its attributes."""
    kind = type(value)
    if hasattr(value, "__wrapped__"):
        return by.digest(value.__wrapped__)
    if not by.is_own(kind.__module__) and kind.__module__.partition(".")[0] not in by._foreign:
        return _of_library(value)
    lazy = {name for each in kind.__mro__ for name, held in vars(each).items() if _is_lazy(held)}
    state = {name: held for name, held in _attributes(value) if name not in lazy}
    return by.digest(kind), [(name, by.digest(held)) for name, held in state.items()]


def _of_library(value: Any) -> Any:
    from datasets.fingerprint import Hasher

    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    with suppress(Exception):  # a lock, a file, a generator
        return kind, Hasher.hash(value)
    return kind


def _is_lazy(held: Any) -> bool:
    return isinstance(held, functools.cached_property)


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    slots = {name for each in type(value).__mro__ for name in _slots(each) if hasattr(value, name)}
    yield from sorted((name, getattr(value, name)) for name in slots if name not in ("__dict__", "__weakref__"))
    yield from sorted(getattr(value, "__dict__", {}).items())


def _slots(kind: type) -> Iterable[str]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else slots


@_parts.register(list)
@_parts.register(tuple)
def _(value: Any, by: ByValue) -> Any:
    return type(value).__name__, [by.digest(each) for each in value]


@_parts.register(Mapping)
def _(value: Any, by: ByValue) -> Any:
    return type(value).__name__, [(by.digest(key), by.digest(held)) for key, held in value.items()]


@_parts.register(Set)
def _(value: Any, by: ByValue) -> Any:
    return type(value).__name__, sorted(by.digest(each) for each in value)


@_parts.register
def _(value: Enum, by: ByValue) -> Any:
    return type(value).__module__, type(value).__qualname__, value.name, by.digest(value.value)


@_parts.register
def _(value: CodeType, by: ByValue) -> Any:
    names = value.co_names, value.co_varnames, value.co_freevars, value.co_cellvars
    counts = value.co_argcount, value.co_posonlyargcount, value.co_kwonlyargcount, value.co_flags
    return value.co_code, names, counts, [by.digest(each) for each in value.co_consts]


@_parts.register
def _(value: FunctionType, by: ByValue) -> Any:
    name = value.__module__, value.__qualname__
    if not by.is_own(value.__module__):
        return name, _version(value.__module__)
    cells = [by.digest(_content(cell)) for cell in value.__closure__ or ()]
    defaults = by.digest(value.__defaults__), by.digest(value.__kwdefaults__)
    return name, by.digest(value.__code__), defaults, cells, _named(value, by), by.digest(vars(value))


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _named(function: FunctionType, by: ByValue) -> list[Any]:
    """Return the globals that the code of a function names, and what it takes out of modules of the user's."""
    codes = [*_codes(function.__code__)]
    names = sorted({name for code in codes for name in code.co_names})
    space = function.__globals__
    used = [(name, space[name]) for name in names if name in space]
    lazy = [(name, by.imported(name, space.get("__package__"))) for code in codes for name in _imports(code)]
    return [(name, _of_module(value, names, by, ())) for name, value in [*used, *lazy] if value is not None]


def _of_module(value: Any, names: list[str], by: ByValue, outer: tuple[str, ...]) -> Any:
    """Return what code with these names takes out of a module; of anything else its digest."""
    if not isinstance(value, ModuleType):
        return by.digest(value)
    if not by.is_own(value.__name__) or value.__name__ in outer:
        return value.__name__, _version(value.__name__)
    inside = (*outer, value.__name__)
    return [(name, _of_module(vars(value)[name], names, by, inside)) for name in names if name in vars(value)]


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _codes(each)


def _imports(code: CodeType) -> list[str]:
    return [each.argval for each in dis.get_instructions(code) if each.opname == "IMPORT_NAME" and each.argval]


def _version(module: str | None) -> str:
    return str(getattr(sys.modules.get((module or "").partition(".")[0]), "__version__", ""))


@_parts.register
def _(value: type, by: ByValue) -> Any:
    name = value.__module__, value.__qualname__
    if not by.is_own(value.__module__):
        return name, _version(value.__module__)
    members = [(key, by.digest(held)) for key, held in sorted(vars(value).items()) if not _is_generated(value, key)]
    return name, [by.digest(each) for each in value.__bases__], members


def _is_generated(kind: type, key: str) -> bool:
    """Return whether Python or `dataclass`, which goes by the fields, has made a member."""
    held = vars(kind)[key]
    code = getattr(held, "__code__", None)
    generated = key.startswith("__") and code is not None and code.co_filename == "<string>"
    return key in _BOOKKEEPING or (generated and "__dataclass_fields__" in vars(kind))


@_parts.register
def _(value: property, by: ByValue) -> Any:
    return [by.digest(each) for each in (value.fget, value.fset, value.fdel)]


@_parts.register(classmethod)
@_parts.register(staticmethod)
def _(value: Any, by: ByValue) -> Any:
    return type(value).__name__, by.digest(value.__func__)


@_parts.register
def _(value: functools.cached_property, by: ByValue) -> Any:
    return by.digest(value.func)


@_parts.register
def _(value: functools.partial, by: ByValue) -> Any:
    return by.digest(value.func), by.digest(value.args), by.digest(value.keywords)


@_parts.register
def _(value: MethodType, by: ByValue) -> Any:
    return by.digest(value.__func__), by.digest(value.__self__)


@_parts.register
def _(value: ModuleType, by: ByValue) -> Any:
    return value.__name__, _version(value.__name__)


@_parts.register(BuiltinFunctionType)
def _(value: Callable[..., Any], by: ByValue) -> Any:
    owner = getattr(value, "__self__", None)
    return value.__qualname__, None if isinstance(owner, ModuleType | None) else by.digest(owner)
