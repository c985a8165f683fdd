"""Axes of a sweep: a key, and the values that it takes, as they are typed or as a file has them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml  # type: ignore[import-untyped]

from dpo_lightning.cli.config_files import check_config
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import one_line

_CLOSES = {"[": "]", "{": "}"}
_NO_AXIS = {
    "config": "give the files as --config, and sweep over what they differ in",
    "ckpt_path": "each run begins from model.policy, and goes on by itself",
    "print_config": "it is no setting",
    "trainer.default_root_dir": "each run writes into a directory of its own below --out",
    "trainer.logger": "each run writes into a directory of its own below --out",
    "trainer.callbacks": "give them in the config; a setting that all runs share cannot be an axis",
    "trainer.fast_dev_run": "such a run leaves no metrics",
}


class Axis(NamedTuple):
    """A key, and its values as the words of a command have them.

    Attributes:
        key: The key, as it was given.
        values: Its values, two or more, each once.
    """

    key: str
    values: tuple[str, ...]

    @property
    def name(self) -> str:
        """The key without `init_args`, by which two spellings of it are the same."""
        return plain_key(self.key)


def plain_key(key: str) -> str:
    """Return a key without `init_args`: the parser takes it with and without."""
    return ".".join(part for part in key.split(".") if part != "init_args")


def axes_of(given: Sequence[str], grid: Path | None) -> list[Axis]:
    """Return the axes of all `--over`, and behind them those of a grid file.

    Args:
        given: Texts `KEY=VALUE,VALUE`.
        grid: A YAML file, a mapping of keys to lists of values.

    Raises:
        InputError: for a text or a file that is none, a value or a key that stands twice, and a key that is no setting.
    """
    axes = [*map(_axis, given), *([] if grid is None else _grid(grid))]
    if not axes:
        raise InputError("sweep: over what? Give --over KEY=VALUE,VALUE or a file with --grid")
    for place, axis in enumerate(axes):
        for before in axes[:place]:
            if axis.name == before.name:
                raise InputError(f"sweep: {axis.key} is an axis twice: give all of its values at once")
            if f"{before.name}.".startswith(f"{axis.name}."):
                raise InputError(
                    f"sweep: the values of {axis.key} would replace those of {before.key}: give --over {axis.key} first"
                )
    return axes


def _axis(text: str) -> Axis:
    key, is_there, values = text.partition("=")
    if not is_there or not key.strip() or not values.strip():
        raise InputError(f"sweep --over: {text!r} is no KEY=VALUE,VALUE: write it as --over trainer.max_steps=10,20")
    place = f"sweep --over {key.strip()}"
    return _checked(place, key.strip().removeprefix("--"), split(values.strip(), place))


def split(text: str, place: str) -> list[str]:
    """Return the values that a text has between commas, of which those inside brackets and quotes are none.

    One list in brackets alone is the list of the values.

    Args:
        text: The text.
        place: Text that names it in an error.

    Raises:
        InputError: for brackets or quotes that do not close, and an empty value.
    """
    parts = _parts(text, place)
    if len(parts) == 1 and text.startswith("["):
        parts = _parts(text[1:-1], place)
    if any(not part for part in parts):
        raise InputError(f"{place}: an empty value in {one_line(text, 80)!r}: write null, or '' in quotes")
    return [_unquoted(part) for part in parts]


def _parts(text: str, place: str) -> list[str]:
    parts, awaited, quote = [""], list[str](), ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"" and (awaited or not parts[-1].strip()):
            quote = letter
        elif letter in _CLOSES:
            awaited.append(_CLOSES[letter])
        elif awaited and letter == awaited[-1]:
            awaited.pop()
        elif letter == "," and not awaited:
            parts.append("")
            continue
        parts[-1] += letter
    if awaited or quote:
        raise InputError(f"{place}: {one_line(text, 80)!r}: {quote or awaited[-1]} is missing at the end")
    return [part.strip() for part in parts]


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _grid(path: Path) -> Iterator[Axis]:
    if not path.is_file():
        raise InputError(f"sweep --grid: {path}: there is no such file")
    check_config(path)
    for key, values in _keys(yaml.safe_load(path.read_text(encoding="utf-8-sig"))):
        place = f"sweep --grid {path}: {key}"
        if not isinstance(values, list):
            raise InputError(f"{place}: a list of values belongs here, got {one_line(values, 40)!r}")
        yield _checked(place, key, [_word(value) for value in values])


def _keys(found: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each key with what stands there, a mapping of mappings by keys joined with dots."""
    for key, value in found.items():
        name = f"{above}{key}"
        if isinstance(value, dict):
            yield from _keys(value, f"{name}.")
        else:
            yield name, value


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _checked(place: str, key: str, values: Iterable[str]) -> Axis:
    axis = Axis(key, tuple(values))
    for known, remedy in _NO_AXIS.items():
        if axis.name == known or axis.name.startswith(f"{known}."):
            raise InputError(f"{place}: {known} is no axis: {remedy}")
    if twice := next((value for value in axis.values if axis.values.count(value) > 1), None):
        raise InputError(f"{place}: the value {one_line(twice, 60)} stands there twice")
    if not axis.values:
        raise InputError(f"{place}: there is no value")
    return axis
