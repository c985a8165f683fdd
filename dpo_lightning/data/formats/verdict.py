"""Verdicts: which of two completions a column says is the better one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple

from dpo_lightning.data.columns import number_in
from dpo_lightning.errors import InputError

_SHOWN = 6  # words that a refusal names


class Better(Enum):
    """The better one of two completions; the values are those of a config."""

    FIRST = "first"
    SECOND = "second"
    TIE = "tie"


class Verdicts(NamedTuple):
    """How values of a column are read.

    Attributes:
        words: Values as text in small letters, such as `model_a` or `1`, and what each says.
        boundary: Numbers below it say the first, those above it the second, and itself a tie; None for words alone.
        least: Smallest number that is a verdict.
        most: Largest number that is a verdict.
    """

    words: Mapping[str, Better]
    boundary: float | None = None
    least: float = -math.inf
    most: float = math.inf

    def of(self, value: Any, place: str) -> Better:
        """Return what a value says.

        Raises:
            InputError: naming the place, for a value that is no verdict.

        Example:
            >>> Verdicts({"tie": Better.TIE}, boundary=0).of(-2, "field `preference`")
            <Better.FIRST: 'first'>
        """
        word, number = as_word(value), number_in(value)
        if word in self.words:
            return self.words[word]
        if self.boundary is None or isinstance(number, bool) or not isinstance(number, int | float):
            raise self._unknown(value, place)
        if not self.least <= number <= self.most:
            raise self._unknown(value, place)
        if number == self.boundary:
            return Better.TIE
        return Better.FIRST if number < self.boundary else Better.SECOND

    def _unknown(self, value: Any, place: str) -> InputError:
        words = ", ".join(f"{word} ({better.value})" for word, better in [*self.words.items()][:_SHOWN])
        words += ", ..." if len(self.words) > _SHOWN else ""
        numbers = "" if self.boundary is None else f"numbers from {self.least:g} to {self.most:g}"
        known = " and ".join(each for each in (words, numbers) if each)
        shown = "null" if value is None else repr(value)
        return InputError(
            f"{place}: {shown:.40} does not say which completion is better: known are {known}; say in "
            "format.verdicts what others mean"
        )


def as_word(value: Any) -> str:
    """Return a verdict as a word in small letters; the brackets of a judge's `[[A]]` do not count."""
    if value is None:
        return "null"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip().strip("[]").strip().casefold()
