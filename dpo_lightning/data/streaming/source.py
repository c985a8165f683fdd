"""The rows of one place that stream, after a look at the first of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

from dpo_lightning.compat.datasets import json_text
from dpo_lightning.data.formats import Format
from dpo_lightning.data.formats.recorded import held
from dpo_lightning.data.formats.settled import FIRST_ROWS
from dpo_lightning.data.formats.unread import names_in
from dpo_lightning.data.reading.sources import Keys, keyed
from dpo_lightning.data.streaming.row_streams import RawRow, RowStream
from dpo_lightning.data.streaming.tokens import RowTokenizer, Taken
from dpo_lightning.data.tokenize.first_look import look_first
from dpo_lightning.data.tokenize.rows import tokens_identity
from dpo_lightning.errors import InputError

Settle = Callable[[Format, Sequence[Mapping[str, Any]], str], Format]

HEAD = 200
"""Rows that are looked at before the run begins."""


class StreamSource:
    """Rows of one place to train on, of which nobody knows how many there are.

    Args:
        rows: The rows.
        tokenize: Makes examples of them; its columns are found here.
        place: What messages call the rows.
        settle: Gives the format of the rows from the first of them, and from what messages call them.
        name: Name of the source where there are several.
        weight: Its share of the rows, beside the weights of the others.
        key: Key of the config that gave it, for messages.

    Attributes:
        head: The first rows.
        taken: The examples of those that are kept.

    Raises:
        InputError: where there are no rows, or the first ones cannot be read.
    """

    def __init__(
        self,
        rows: RowStream,
        tokenize: RowTokenizer,
        place: str,
        settle: Settle,
        *,
        name: str | None = None,
        weight: float = 1,
        key: str = Keys().source,
    ) -> None:
        self._stream = rows
        self.place = place
        self.name = name
        self.weight = weight
        self.key = key
        self.head = list(islice(self.rows(), HEAD))
        if not self.head:
            raise InputError(f"{place}: no rows")
        columns = [raw.columns() for raw in self.head]
        names = tuple(dict.fromkeys(name for each in columns for name in each))
        row_format = settle(tokenize.row_format, columns[:FIRST_ROWS], place)
        self._table = as_table(columns, names)
        look_first(self._table, row_format, tokenize.encode, place)
        found = frozenset(path for each in columns for path in held(each))
        self.tokenize = RowTokenizer(
            row_format, tokenize.encode, tokenize.vocabulary, names, name, found, key, tokenize.fitted
        )
        self.taken: list[Taken] = self.tokenize.tokenized([*enumerate(self.head)]).taken

    def rows(self, number: int = 0) -> Iterator[RawRow]:
        """Read all rows, as those of the source of this number."""
        with keyed(self.key):
            for raw in self._stream.rows():
                named = raw.place if self.name is None else f"source {self.name}: {raw.place}"
                yield raw._replace(place=named, source=number)

    @property
    def names(self) -> set[str]:
        """Names in the first rows that `Format.ignore` may have."""
        return names_in(self._table)

    @cached_property
    def content(self) -> str:
        """Hash of the first rows, of what is known of the others, and of what decides on their tokens."""
        from datasets.fingerprint import Hasher

        first = repr([raw.columns() for raw in self.head])
        return Hasher.hash(
            (self._stream.identity, first, tokens_identity(self.tokenize.row_format, self.tokenize.encode))
        )


def as_table(columns: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Any:
    """Return rows as a dataset that holds their very values, and of those that JSON has not the names of their types.

    Such values are times and bytes, beside which the look at columns goes on.
    """
    from datasets import Dataset, Features

    kinds = Features(dict.fromkeys(names, json_text()))
    return Dataset.from_dict({name: [_in_json(each.get(name)) for each in columns] for name in names}, features=kinds)


def _in_json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=lambda inner: type(inner).__name__))
