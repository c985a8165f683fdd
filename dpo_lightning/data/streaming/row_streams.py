"""Rows of an `IterableDataset`, one after the other, always in the same order."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from dpo_lightning.data.reading.plain import meant

if TYPE_CHECKING:
    from datasets import IterableDataset


class RawRow(NamedTuple):
    """A row as it was read, some of whose values may still have to be decoded.

    Attributes:
        row: Its number in the stream of its source, counted from 0.
        place: The file, or the data set, that it stands in.
        number: Its number there.
        values: The columns by name.
        coded: Names of those that are JSON text, in a fraction of the memory that their values take.
        source: Number of its source, where there are several.
    """

    row: int
    place: str
    number: int
    values: Mapping[str, Any]
    coded: tuple[str, ...] = ()
    source: int = 0

    @property
    def named(self) -> str:
        """The row as messages name it."""
        return f"{self.place}, row {self.number} (from 0)"

    def columns(self) -> dict[str, Any]:
        """Return the columns by name."""
        decoded = {name: json.loads(self.values[name]) for name in self.coded if self.values[name] is not None}
        return {**self.values, **decoded}


class RowStream(ABC):
    """Rows that can be read again and again from the start, in the same order."""

    @abstractmethod
    def rows(self) -> Iterator[RawRow]:
        """Read all rows, from the first one on."""

    @property
    @abstractmethod
    def identity(self) -> Any:
        """Facts of the rows that cost little to know, in plain types."""


class DatasetRows(RowStream):
    """Rows of an `IterableDataset`, which must have the same order each time; classes are their names.

    Args:
        dataset: The rows.
        place: What messages call it.
    """

    def __init__(self, dataset: IterableDataset, place: str) -> None:
        self.dataset = dataset
        self.place = place

    @property
    def identity(self) -> Any:
        """Name of it in messages."""
        return self.place

    def rows(self) -> Iterator[RawRow]:
        """Iterate over it."""
        kinds = self.dataset.features or {}
        for number, columns in enumerate(self.dataset):
            values = {name: meant(value, kinds.get(name), decoded=True) for name, value in columns.items()}
            yield RawRow(number, self.place, number, values)
