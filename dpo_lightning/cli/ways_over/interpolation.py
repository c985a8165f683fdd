"""Values of a config that another program would fill in, such as `${MODEL}`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import one_line


def refuse_interpolated(values: Mapping[str, Any], place: str, besides: Collection[str] = ()) -> None:
    """Refuse texts with `${...}` in them, which nothing fills in.

    Args:
        values: The config.
        place: The file, for messages.
        besides: Fields whose texts are programs.

    Raises:
        InputError: naming the field.
    """
    for name, value in values.items():
        if name not in besides:
            _check(value, f"{place}: {name}")


def _check(value: Any, place: str) -> None:
    if isinstance(value, str) and "${" in value:
        raise InputError(
            f"{place}: {one_line(value, 60)} is to be filled in by another program: write the value itself"
        )
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check(inner, f"{place}.{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _check(inner, f"{place}[{number}]")
