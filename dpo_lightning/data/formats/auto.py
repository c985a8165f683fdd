"""The default format: finds that of the rows, unless columns or texts around them are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from dpo_lightning.data.formats.base import Format
from dpo_lightning.data.formats.found import find_format
from dpo_lightning.data.formats.known import Known
from dpo_lightning.data.formats.row import RowFormat
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Compares

_GO_ALONG = ("margin", "weight", "texts")
"""Settings that mean the same to each format."""


@dataclass(frozen=True)
class AutoFormat(RowFormat):
    """Looks at the first rows and takes the format that reads them; says which in one line.

    As soon as a setting is given, these are pairs with the settings of `RowFormat`, but that `margin`, `weight` and
    `texts` go along with whatever is found. What is found: `docs/formats.md`.

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
        found = replace(known.format, **given)  # type: ignore[type-var]
        return known._replace(format=found.found_in(rows, wanted))
