"""Kinds of arguments: the values that an annotation takes, for objects that are made in Python as by the parser."""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import inspect
import os
import types
import typing
from collections.abc import Mapping, Sequence
from enum import Enum
from numbers import Integral, Real
from typing import Any, Literal, Union, get_args, get_origin

from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import one_line

_PLAIN: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    dict: "a mapping",
    list: "a list",
    type(None): "null",
}
_UNIONS = (Union, types.UnionType)
_NUMBERS = (int, float, bool, complex, type(None))
_MAPPINGS = (dict, collections.abc.Mapping)
_LISTS = (list, collections.abc.Sequence)


def check_kinds(place: str, hints: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Compare values with their annotations: a bool is no number, a fraction no whole one, a path is text.

    Args:
        place: Text in front of each name in an error, such as `data.`.
        hints: Annotations by name. One that is not understood takes every value.
        values: Values by name; one without an annotation is passed over.

    Raises:
        InputError: for the first value of another kind, as `place.name must be ..., got ...`.
    """
    for name in [each for each in hints if each in values]:
        hint, value = hints[name], values[name]
        if not takes(hint, os.fspath(value) if isinstance(value, os.PathLike) else value):
            raise InputError(f"{place}{name} must be {in_words(hint)}, got {one_line(repr(values[name]), 80)}")


def check_fields(owner: object, place: str) -> None:
    """Compare the fields of a dataclass with their annotations.

    Raises:
        InputError: for the first field of another kind.
    """
    kind = type(owner)
    fields = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    hints = annotations_of(kind)
    wanted = {name: hints[name] for name in fields if name in hints}
    check_kinds(place, wanted, {name: getattr(owner, name) for name in fields})


def check_arguments(kind: Any, values: Mapping[str, Any], place: str) -> None:
    """Compare the arguments of a constructor with its annotations; the caller passes its `locals()`.

    Raises:
        InputError: for the first argument of another kind.
    """
    check_kinds(place, argument_annotations(kind), values)


def argument_annotations(kind: Any) -> Mapping[str, Any]:
    """Return the annotations of what a class is made with: of a dataclass those of its fields."""
    return annotations_of(kind if dataclasses.is_dataclass(kind) else kind.__init__)


def annotations_of(of: Any) -> Mapping[str, Any]:
    """Return the annotations of a class or function by name; none where a name in them cannot be found."""
    return _resolved(of)


@functools.cache
def _resolved(of: Any) -> Mapping[str, Any]:
    try:
        return {name: hint for name, hint in typing.get_type_hints(of).items() if name != "return"}
    except (NameError, TypeError, AttributeError):  # of a name that is imported for type checkers alone
        return {}


def takes(hint: Any, value: object) -> bool:
    """Return whether an annotation takes a value; True for an annotation that is not understood."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in _UNIONS:
        return any(takes(each, value) for each in inner)
    if origin is Literal:
        return any(type(value) is type(each) and value == each for each in inner)
    if origin in _LISTS:
        return _is_list(value) and all(takes(inner[0], each) for each in typing.cast(Any, value))
    if origin in _MAPPINGS:
        # Keys are the affair of who reads them, and can say which one is wrong.
        return isinstance(value, collections.abc.Mapping) and all(takes(inner[1], each) for each in value.values())
    return _is_of(hint, value)


def takes_null(hint: Any) -> bool:
    """Return whether null is one of the values that an annotation names; True for one that names no kind."""
    if get_origin(hint) in _UNIONS:
        return any(takes_null(each) for each in get_args(hint))
    return hint in (None, type(None), Any) or isinstance(hint, typing.TypeVar)


def _is_of(hint: Any, value: object) -> bool:
    """Compare with an annotation without parts."""
    if hint is None:
        return value is None
    if hint is bool:
        return isinstance(value, bool)
    if hint in (int, float):
        number = Integral if hint is int else Real
        return isinstance(value, number) and not isinstance(value, bool)
    return isinstance(value, hint) if inspect.isclass(hint) and hint in _PLAIN else True


def _is_list(value: object) -> bool:
    return isinstance(value, collections.abc.Sequence) and not isinstance(value, str | bytes)


def in_words(hint: Any) -> str:
    """Say which values an annotation takes, as it follows "must be"."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in _UNIONS:
        words = dict.fromkeys(in_words(each) for each in _ordered(inner))
        return " or ".join(sorted(words, key=lambda word: ", each " in word))  # what follows would be said of each
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if origin in _LISTS and inner:
        return f"a list, each {in_words(inner[0])}"
    if origin in _MAPPINGS:
        return _PLAIN[dict] if inner[1] is Any else f"{_PLAIN[dict]}, each {in_words(inner[1])}"
    return _PLAIN.get(hint, getattr(hint, "__name__", str(hint)))


def _ordered(members: Sequence[Any]) -> list[Any]:
    """Put int before float: typing returns an equal union that was made before, in the order of that one."""
    ordered = list(members)
    if {int, float} <= set(members) and ordered.index(float) < ordered.index(int):
        first, second = ordered.index(float), ordered.index(int)
        ordered[first], ordered[second] = int, float
    return ordered


def takes_text(hint: Any) -> bool:
    """Return whether a text is a value of an argument; elsewhere the parser takes it for an import path or a file."""
    if isinstance(hint, str):  # could not be evaluated
        return "str" in hint or "Any" in hint
    members = members_of(hint)
    return all(each in _NUMBERS for each in members) or any(_is_text(each) for each in members)


def members_of(hint: Any) -> list[Any]:
    """Return the annotations that a union is made of, or the one that is none."""
    if get_origin(hint) in _UNIONS:
        return [member for each in get_args(hint) for member in members_of(each)]
    return [hint]


def _is_text(hint: Any) -> bool:
    if hint in (Any, str, object, inspect.Parameter.empty) or get_origin(hint) is Literal:
        return True
    return isinstance(hint, type) and issubclass(hint, str | Enum | os.PathLike)
