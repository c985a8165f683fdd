"""Types and shapes of calls: jaxtyping's checks where a signature has shapes, and beartype's alone where it has none.

jaxtyping binds the arguments of every call anew, which takes ten times as long as beartype's check; most functions have
no shapes, and are called most often.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

from jaxtyping import TypeCheckError, config

Decorator = Callable[..., Any]
_ANY_ARGUMENTS = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS


def faster(jaxtyped: Decorator) -> Decorator:
    """Return `jaxtyping.jaxtyped` with a short way for functions without shapes; both check the same."""

    def decorator(fn: Any = None, *, typechecker: Decorator) -> Any:
        if fn is None:
            return functools.partial(decorator, typechecker=typechecker)
        if not isinstance(fn, types.FunctionType):
            return jaxtyped(fn, typechecker=typechecker)
        if fn.__code__ not in known:
            known[fn.__code__] = {name: _resolved(hint, fn) for name, hint in fn.__annotations__.items()}
        hints = known[fn.__code__]
        if any(map(_has_shape, hints.values())):
            return jaxtyped(fn, typechecker=typechecker)
        if "<locals>" in fn.__qualname__ and not fn.__code__.co_flags & _ANY_ARGUMENTS:
            return _checked_value_by_value(fn, hints)
        return _checked(fn, hints)

    known: dict[types.CodeType, dict[str, Any]] = {}
    return decorator


def _resolved(hint: Any, fn: types.FunctionType) -> Any:
    """What an annotation names; anything where that is not known yet, as jaxtyping has it."""

    def carrier() -> None: ...

    carrier.__annotations__ = {"hint": hint}
    try:
        return typing.get_type_hints(carrier, fn.__globals__, include_extras=True)["hint"]
    except Exception:
        return Any


def _has_shape(hint: Any) -> bool:
    inner = hint if isinstance(hint, list) else typing.get_args(hint)
    return hasattr(hint, "dim_str") or any(map(_has_shape, inner))


def _checked(fn: types.FunctionType, hints: dict[str, Any]) -> Any:
    from beartype import BeartypeConf, beartype

    copy = types.FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
    copy.__kwdefaults__, copy.__annotations__, copy.__qualname__ = fn.__kwdefaults__, hints, fn.__qualname__
    checking = beartype(conf=BeartypeConf(violation_type=TypeCheckError))(copy)

    @functools.wraps(fn)
    def checked(*args: Any, **kwargs: Any) -> Any:
        return (fn if config.jaxtyping_disable else checking)(*args, **kwargs)

    return checked


def _checked_value_by_value(fn: types.FunctionType, hints: dict[str, Any]) -> Any:
    """For a function that is made in each call of another one: beartype would compile its check anew each time."""
    from beartype import BeartypeConf
    from beartype.door import die_if_unbearable

    conf = BeartypeConf(violation_type=TypeCheckError)
    names = fn.__code__.co_varnames[: fn.__code__.co_argcount]

    @functools.wraps(fn)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if config.jaxtyping_disable:
            return fn(*args, **kwargs)
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):  # too many are the function's own error
            die_if_unbearable(value, hints.get(name, Any), conf=conf)
        result = fn(*args, **kwargs)
        die_if_unbearable(result, hints.get("return", Any), conf=conf)
        return result

    return checked
