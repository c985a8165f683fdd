"""Columns that may name where a completion comes from: short texts that nobody reads, with few values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from dpo_lightning.data.inspect.survey import Seen

_LONGEST = 40  # characters of a name
_MOST_VALUES = 50


class Origins:
    """Takes the names of sources from rows, one row after the other.

    Args:
        read: Columns that the format reads: they say what the example is, such as its label.
    """

    def __init__(self, read: Collection[str] = ()) -> None:
        self._passed_over = {*read}
        self._values: dict[str, set[str]] = {}
        self._known: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}

    def of(self, row: Mapping[str, Any]) -> Mapping[str, str]:
        """Return the names in a row by column; equal ones are one object."""
        names = {name: value for name, value in self._inner(row) if self._is_name(name, value)}
        return self._known.setdefault(tuple(names.items()), names)

    def _inner(self, row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yield the values of a row, and those of the mappings in it by path, as in `chosen_meta.model`."""
        for name, value in row.items():
            if name in self._passed_over:
                continue
            if isinstance(value, Mapping):
                yield from ((f"{name}.{field}", inner) for field, inner in value.items())
            else:
                yield name, value

    def _is_name(self, column: str, value: Any) -> bool:
        if column in self._passed_over or not isinstance(value, str) or not 0 < len(value) <= _LONGEST:
            return False
        values = self._values.setdefault(column, set())
        if value not in values and not _is_number(value):
            values.add(value)
            if len(values) > _MOST_VALUES:
                self._passed_over.add(column)
        return value in values and column not in self._passed_over

    def with_few(self, examples: Sequence[Seen]) -> list[Seen]:
        """Return examples without the values of columns that turned out to have many."""
        few = {
            id(names): {column: name for column, name in names.items() if column not in self._passed_over}
            for names in self._known.values()
        }
        return [each._replace(values=few[id(each.values)]) for each in examples]


def _is_number(text: str) -> bool:
    """Return whether a text is a number, such as a score in a CSV, which has texts alone."""
    try:
        float(text)
    except ValueError:
        return False
    return True
