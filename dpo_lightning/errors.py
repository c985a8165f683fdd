"""Errors that mean something to the user. The command prints them as one line, without a traceback, and exits 1."""

from __future__ import annotations

import unicodedata

# Control characters, marks that turn the direction of a text or have no width, surrogates, line separators.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def visible(text: object) -> str:
    """Return a text of somebody else's with what cannot be seen spelled out as an escape, for a terminal or a file.

    New lines and tabs stay. Without this, a row of data moves the cursor, hides words or turns their direction.
    """
    return "".join(_seen(each) for each in str(text))


def _seen(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in _UNSEEN:
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


class DPOLightningError(Exception):
    """Base class of `InputError` and `RunError`; what it quotes of others is spelled out where it cannot be seen."""

    def __str__(self) -> str:
        """Return the message, fit for a terminal."""
        return visible(super().__str__())


class InputError(DPOLightningError, ValueError):
    """Wrong input: a file, a row, a field, an option. The message names the place and what to do."""


class RunError(DPOLightningError, RuntimeError):
    """A run that must not go on. The message names the step, the pairs and the likely causes."""


class NotBuiltError(RunError, AttributeError):
    """A part of the model that is not there yet: absent, to `hasattr` and to tools that look through a module."""
