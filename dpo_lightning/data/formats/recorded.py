"""A row that notes which of its values are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

Path: TypeAlias = tuple[str, ...]
"""Names of a column, and of the fields on the way to a value inside it; lists on the way have no part in it."""

_NOTHING = frozenset({"", "[]", "{}", "null"})


class Recorded(dict[str, Any]):
    """A mapping whose values are noted when they are read; fields inside a column are read one by one.

    Args:
        values: The mapping.
        read: Takes the paths of the values that are read.
        path: Where the mapping is.
    """

    __slots__ = ("_path", "_read")

    def __init__(self, values: Mapping[str, Any], read: set[Path], path: Path = ()) -> None:
        super().__init__({name: _recorded(each, read, (*path, name)) for name, each in values.items()})
        self._read = read
        self._path = path

    def note_all(self) -> None:
        """Note every value as read, those of mappings inside it as well."""
        for name in dict.keys(self):
            self._note(name)
            note_all(dict.__getitem__(self, name))

    def _note(self, name: Any) -> None:
        self._read.add((*self._path, name))

    def __getitem__(self, name: Any) -> Any:
        self._note(name)
        return super().__getitem__(name)

    def get(self, name: Any, default: Any = None) -> Any:
        """Return a value."""
        self._note(name)
        return super().get(name, default)

    def pop(self, name: Any, *default: Any) -> Any:
        """Take a value out."""
        self._note(name)
        return super().pop(name, *default)

    def setdefault(self, name: Any, default: Any = None) -> Any:
        """Return a value, or put one there."""
        self._note(name)
        return super().setdefault(name, default)

    def __iter__(self) -> Iterator[str]:
        # An `__iter__` of its own keeps `dict(row)` and `{**row}` from copying the values past `__getitem__`.
        return super().__iter__()

    def items(self) -> Any:
        """Return names and values."""
        self._note_values()
        return super().items()

    def values(self) -> Any:
        """Return the values."""
        self._note_values()
        return super().values()

    def copy(self) -> dict[str, Any]:
        """Return a plain copy."""
        return dict(self.items())

    def popitem(self) -> tuple[str, Any]:
        """Take the last value out."""
        self._note_values()
        return super().popitem()

    def __or__(self, other: Any) -> Any:
        return self.copy() | other

    def __ror__(self, other: Any) -> Any:
        return other | self.copy()

    def __eq__(self, other: object) -> bool:
        self.note_all()
        return super().__eq__(other)

    __hash__ = None

    def __repr__(self) -> str:
        self.note_all()
        return super().__repr__()

    def _note_values(self) -> None:
        for name in dict.keys(self):
            self._note(name)


def note_all(value: Any) -> None:
    """Note all that is recorded inside a value as read: what an example holds, its template reads."""
    if isinstance(value, Recorded):
        value.note_all()
    elif isinstance(value, Mapping):
        for each in value.values():
            note_all(each)
    elif isinstance(value, list | tuple):
        for each in value:
            note_all(each)


def _recorded(value: Any, read: set[Path], path: Path) -> Any:
    if isinstance(value, Mapping):
        return Recorded(value, read, path)
    return [_recorded(each, read, path) for each in value] if isinstance(value, list) else value


def holds(value: Any) -> bool:
    """Return whether there is a value: null, blank text and empty lists and mappings are none, nor is JSON of these."""
    if isinstance(value, str):
        return value.strip() not in _NOTHING
    if isinstance(value, Mapping):
        return any(map(holds, value.values()))
    return any(map(holds, value)) if isinstance(value, list | tuple) else value is not None


def held(value: Any, path: Path = ()) -> set[Path]:
    """Return the paths of all values inside a row that are no mappings, see `holds`."""
    if isinstance(value, Mapping):
        return {found for name, each in value.items() for found in held(each, (*path, name))}
    if isinstance(value, list | tuple) and any(isinstance(each, Mapping | list | tuple) for each in value):
        return {found for each in value for found in held(each, path)}
    return {path} if holds(value) else set()


def left(found: set[Path], read: set[Path]) -> list[Path]:
    """Return the shortest paths under which there are values and none is read, in the order of their names."""
    used = {path[:end] for path in found & read for end in range(1, len(path) + 1)}
    return sorted({_outermost(path, used) for path in found - read})


def _outermost(path: Path, used: set[Path]) -> Path:
    return next(path[:end] for end in range(1, len(path) + 1) if path[:end] not in used)


def shown_path(path: Sequence[str]) -> str:
    """Return a path as settings name it."""
    return ".".join(path)
