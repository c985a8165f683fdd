"""Arguments that are objects: one line for an object of another kind."""

from __future__ import annotations

from types import FunctionType

from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import one_line


def wrong_kind(place: str, given: object, kind: type, remedy: str) -> InputError:
    """Return the error of an argument that is no object of a class; the caller raises it.

    Args:
        place: The argument, as messages name it.
        given: The object that was given.
        kind: The class that it should be of.
        remedy: What to write instead. A class in the place of an object of it has a remedy of its own.
    """
    if isinstance(given, type) and issubclass(given, kind):
        return InputError(f"{place}: {given.__name__} is a class: write {given.__name__}(...)")
    shown = f"the function {given.__name__}" if isinstance(given, FunctionType) else one_line(repr(given), 80)
    return InputError(f"{place}: {shown} is no {kind.__name__}: {remedy}")
