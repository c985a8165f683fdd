"""A format as a config writes it, where no parser has made the object."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import dpo_lightning.data.formats as known
from dpo_lightning.data.formats.auto import AutoFormat
from dpo_lightning.data.formats.base import Format
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import nearest, one_line


def written_format(given: Mapping[str, Any] | str, key: str) -> Format:
    """Return the format that a name, or a mapping, describes.

    Args:
        given: The name of one of the package's formats, `class_path` with `init_args`, or settings alone, which are
            those of `AutoFormat`, as in `data.format`.
        key: Where it stands, for messages.

    Raises:
        InputError: naming the key, for a class that is not there, a setting that it has not, and a wrong value.
    """
    plain = {"class_path": given} if isinstance(given, str) else given
    name = plain.get("class_path", AutoFormat.__name__)
    settings = plain.get("init_args", {}) if "class_path" in plain else plain
    kind = _kind(name, key)
    if not isinstance(settings, Mapping):
        raise InputError(f"{key}: give the settings by name, not {one_line(repr(settings), 80)}")
    fields = [field.name for field in dataclasses.fields(kind)]
    unknown = next((each for each in settings if each not in fields), None)
    if unknown is not None:
        close = nearest(str(unknown), fields)
        said = f"did you mean `{close}`?" if close else f"its keys are {', '.join(fields)}"
        raise InputError(f"unknown key `{key}.{unknown}`; {said}")
    try:
        return kind(**settings)
    except InputError as error:
        raise InputError(f"{key}: {error}") from error


def _kind(name: object, key: str) -> type[Format]:
    formats = {each: kind for each in known.__all__ if _is_format(kind := getattr(known, each))}
    last = str(name).removeprefix("dpo_lightning.").removeprefix("data.formats.")
    if last in formats:
        return formats[last]
    close = nearest(last, formats)
    said = f"did you mean `{close}`?" if close else f"there are {', '.join(formats)}; or give an object of your own"
    raise InputError(f"{key}: no format {one_line(name, 80)}; {said}")


def _is_format(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Format) and not inspect.isabstract(kind)
