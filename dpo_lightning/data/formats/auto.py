"""The default format: finds that of the rows, unless columns or texts around them are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from dpo_lightning.data.formats.as_messages import read_examples
from dpo_lightning.data.formats.base import Format
from dpo_lightning.data.formats.found import find_format
from dpo_lightning.data.formats.known import Known
from dpo_lightning.data.formats.no_preference import NoPreference
from dpo_lightning.data.formats.pair_halves import LabelledPairs
from dpo_lightning.data.formats.recorded import holds
from dpo_lightning.data.formats.row import RowFormat
from dpo_lightning.data.formats.shapes import TEXT, first_value
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Compares

SYSTEM = ("system", "system_prompt", "system_message")
"""Columns of the text for the system, where nothing else is said."""

_GO_ALONG = (
    *("margin", "probability", "weight", "texts", "control_tokens", "completion_template", "repeats_prompt"),
    *("ignore", "as_messages", "system"),
)
"""Settings that mean the same to each format."""


@dataclass(frozen=True)
class AutoFormat(RowFormat):
    """Looks at the first rows and takes the format that reads them; says which in one line.

    As soon as a setting is given, these are pairs with the settings of `RowFormat`, but that `margin`, `probability`,
    `weight`, `texts`, `control_tokens`, `completion_template`, `repeats_prompt`, `ignore`, `as_messages` and `system`
    go along with whatever is found. A column `system` is the system prompt of the messages beside it; texts beside one
    are written as messages. What is found: `docs/formats.md`.

    Example:
        >>> rows = [{"messages": [{"role": "user", "content": "1 + 1?"}], "chosen": "2", "rejected": "3"}]
        >>> AutoFormat().found_in(rows) == RowFormat(prompt="messages")
        True
    """

    @property
    def looks(self) -> bool:
        """True where no column and no template is given."""
        return all(getattr(self, each.name) == each.default for each in fields(self) if each.name not in _GO_ALONG)

    def found_in(self, rows: Sequence[Mapping[str, Any]], wanted: Compares | None = None) -> Format:
        """Return the format that reads these rows."""
        if not self.looks:
            return RowFormat(**{each.name: getattr(self, each.name) for each in fields(self)}).found_in(rows, wanted)
        return self.known_in(rows, wanted).format

    def known_in(self, rows: Sequence[Mapping[str, Any]], wanted: Compares | None = None) -> Known:
        """Return the format that reads these rows, with its name and its columns.

        Raises:
            InputError: as `find_format` does, and for a setting that the format has not.
        """
        known = find_format(rows, wanted)
        if not isinstance(known.format, LabelledPairs):
            return self._settled(known, rows, wanted)
        pairs = self._settled(known._replace(format=known.format.pairs), rows, wanted)
        return pairs._replace(format=LabelledPairs(pairs.format))

    def _settled(self, known: Known, rows: Sequence[Mapping[str, Any]], wanted: Compares | None) -> Known:
        given = {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if each.name in _GO_ALONG and getattr(self, each.name) != each.default
        }
        found = _with(known.format, given)
        if isinstance(getattr(found, "prompt", None), str) and found.prompt == "instruction":  # type: ignore[attr-defined]
            found = _with_input(found, rows)
        known = known._replace(format=found.found_in(rows, wanted))
        if known.format.system is not None:
            return known
        name = next((each for each in SYSTEM if _has_text(rows, each)), None)
        return known if name is None else _with_system(known, rows, name)


def _with(row_format: Format, given: Mapping[str, Any]) -> Format:
    """Return a format with these settings, those of pairs on them.

    Raises:
        InputError: for a setting that the format has not.
    """
    for name in given:
        if not hasattr(row_format, name):
            raise InputError(f"data.format.{name}: {type(row_format).__name__}, which reads these rows, has none")
    written = {"as_messages": None} if given.get("control_tokens") else {}  # the text has its template already
    return replace(row_format, **{**written, **given})


def _with_input(row_format: Format, rows: Sequence[Mapping[str, Any]]) -> Format:
    """Return a format that puts the input below the instruction, as Alpaca has it, where there is one."""
    if getattr(row_format, "input", "") is not None or not _has_text(rows, "input"):
        return row_format
    return replace(row_format, input="input")  # type: ignore[call-arg]


def _has_text(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    return isinstance(first_value(rows, name), str) and any(holds(row.get(name)) for row in rows)


def _with_system(known: Known, rows: Sequence[Mapping[str, Any]], name: str) -> Known:
    """Return the format with the column of the system prompt, which texts are written as messages for."""
    found = replace(known.format, system=name)
    if not found.as_messages and not any(map(partial(_is_dialogue, found), rows)):
        if found.as_messages is False or getattr(found, "control_tokens", False):
            return known
        found = replace(found, as_messages=True)
        if not any(map(partial(_reads, found), rows)):
            return known
    return known._replace(format=found, needs={**known.needs, name: TEXT})


def _is_dialogue(row_format: Format, row: Mapping[str, Any]) -> bool:
    try:
        return any(isinstance(each.prompt, list) for each in row_format.examples(row))
    except (InputError, NoPreference):
        return False  # the reader says what is wrong with the row


def _reads(row_format: Format, row: Mapping[str, Any]) -> bool:
    try:
        return bool(read_examples(row_format, row, str))
    except (InputError, NoPreference):
        return False
