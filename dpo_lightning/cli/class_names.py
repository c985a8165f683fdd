"""Classes that an argument takes by a short name: of this package, and of Lightning and torch beside them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from torch import nn

import dpo_lightning

_OWN = dpo_lightning.__name__


def classes_of(hint: Any) -> Iterator[type]:
    """Yield the classes in an annotation, those inside unions, lists and callables too."""
    if inspect.isclass(hint) and get_origin(hint) is None and hint.__module__ not in ("builtins", "typing"):
        yield hint
    for inner in get_args(hint):
        yield from classes_of(inner)


def is_own(kind: type) -> bool:
    """Return whether a class is of this package."""
    return kind.__module__.startswith(f"{_OWN}.")


def fitting_names(hint: Any) -> list[str]:
    """Return the short names of the public classes that an argument takes, sorted.

    A plain module may be anything, and is none of them.
    """
    wanted = [each for each in classes_of(hint) if each is not nn.Module]
    bases = [each for each in wanted if type.__subclasses__(each)]
    found = [each for kind in wanted for each in _descendants(kind)]
    return sorted({each.__name__ for each in found if each not in bases and _is_public(each)}, key=str.lower)


def _descendants(kind: type) -> Iterator[type]:
    yield kind
    each: type
    for each in type.__subclasses__(kind):
        yield from _descendants(each)


def _is_public(kind: type) -> bool:
    """Return whether a package that a config may name a class of without its path lists it as its own."""
    parts = kind.__module__.split(".")
    room = ".".join(parts[: {_OWN: 1, "torch": 2, "lightning": 3}.get(parts[0], 0)])
    listed = room in sys.modules and kind.__name__ in getattr(sys.modules[room], "__all__", ())
    return listed and not inspect.isabstract(kind)
