"""The default format: finds that of the rows, unless columns or texts around them are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from dpo_lightning.data.formats.base import Format
from dpo_lightning.data.formats.found import find_format
from dpo_lightning.data.formats.known import Known
from dpo_lightning.data.formats.no_preference import NoPreference
from dpo_lightning.data.formats.row import RowFormat
from dpo_lightning.data.formats.shapes import first_value
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Compares

SYSTEM = "system"
"""Column of the text for the system, where nothing else is said."""

_GO_ALONG = ("margin", "weight", "texts", "ignore", "as_messages", "system")
"""Settings that mean the same to each format."""


@dataclass(frozen=True)
class AutoFormat(RowFormat):
    """Looks at the first rows and takes the format that reads them; says which in one line.

    As soon as a setting is given, these are pairs with the settings of `RowFormat`, but that `margin`, `weight`,
    `texts`, `ignore`, `as_messages` and `system` go along with whatever is found. A column `system` beside messages is
    their system prompt. What is found: `docs/formats.md`.

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
        given = {name: value for name in _GO_ALONG if (value := getattr(self, name)) is not None}
        for name in given:
            if not hasattr(known.format, name):
                raise InputError(f"data.format.{name}: {type(known.format).__name__}, which reads these rows, has none")
        found = replace(known.format, **given)
        if found.system is None and _has_system(found, rows):
            found = replace(found, system=SYSTEM)
        return known._replace(format=found.found_in(rows, wanted))


def _has_system(row_format: Format, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether rows that are read as messages have a text for the system."""
    if not isinstance(first_value(rows, SYSTEM), str):
        return False
    return bool(row_format.as_messages) or any(_is_dialogue(row_format, row) for row in rows)


def _is_dialogue(row_format: Format, row: Mapping[str, Any]) -> bool:
    try:
        return any(isinstance(each.prompt, list) for each in row_format.examples(row))
    except (InputError, NoPreference):
        return False  # the reader says what is wrong with the row
