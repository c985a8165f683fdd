"""Labels of single completions: true and false, in words, as stars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dpo_lightning.batch.columns import checked_number
from dpo_lightning.data.columns import number_in
from dpo_lightning.data.formats.no_preference import NoPreference
from dpo_lightning.errors import InputError

_GOOD = (
    *("true", "yes", "y", "t", "1", "1.0", "+1", "good", "desirable", "positive", "pos", "correct", "chosen"),
    *("accepted", "preferred", "like", "liked", "up", "thumbs_up", "thumbs up", "thumbsup", "👍"),
)
_BAD = (
    *("false", "no", "n", "f", "0", "0.0", "bad", "undesirable", "negative", "neg", "incorrect", "wrong", "rejected"),
    *("dispreferred", "dislike", "disliked", "down", "thumbs_down", "thumbs down", "thumbsdown", "👎"),
)
WORDS: Mapping[str, bool] = {**dict.fromkeys(_GOOD, True), **dict.fromkeys(_BAD, False)}
"""Labels as text, in small letters, and whether the completion is desirable."""

_TONES = dict.fromkeys([*range(0x1F3FB, 0x1F400), 0xFE0F])  # skin tones and the mark of an emoji


def is_desirable(
    value: Any, place: str, words: Mapping[str, bool] | None = None, threshold: float | None = None
) -> bool:
    """Return whether a label says that its completion is desirable.

    Args:
        value: The label.
        place: The field as messages name it.
        words: What other texts than those of `WORDS` mean.
        threshold: Numbers above it are desirable, those below it are not; None for labels that are 1 or 0.

    Raises:
        InputError: naming the place, for what is no label.
        NoPreference: for the threshold itself.

    Example:
        >>> is_desirable("👍", "field `label`"), is_desirable(2, "field `stars`", threshold=3)
        (True, False)
    """
    said = {word.strip().casefold(): means for word, means in (words or {}).items()}
    text = str(value).strip().casefold().translate(_TONES)
    if text in said:
        return said[text]
    if threshold is not None:
        return _is_above(threshold, value, place)
    if isinstance(value, bool | str | int | float) and text in WORDS:
        return WORDS[text]
    shown = "null" if value is None else repr(value)
    raise InputError(
        f"{place}: {shown:.40} is no label: true or 1 for desirable, false or 0 for not; for stars or scores give "
        "data.format.threshold, for other words data.format.labels"
    )


def _is_above(threshold: float, value: Any, place: str) -> bool:
    number = checked_number(number_in(value), place)
    if number == threshold:
        raise NoPreference
    return number > threshold


def is_signed(values: list[Any]) -> bool:
    """Return whether labels are 1 and -1, where 0 is neither."""
    numbers = {number for value in values if isinstance(number := number_in(value), int | float)}
    return -1 in numbers and numbers <= {-1, 0, 1}
