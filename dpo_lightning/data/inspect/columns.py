"""Columns of a split: which are read, and what nobody reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dpo_lightning.data.formats import Example, Format
from dpo_lightning.data.formats.as_messages import read_examples
from dpo_lightning.data.formats.filled import count
from dpo_lightning.data.formats.recorded import Path, shown_path
from dpo_lightning.data.formats.unread import Looked, check_known, look_at
from dpo_lightning.data.tokenize import ExampleTokenizer
from dpo_lightning.data.tokenize.first_look import Look
from dpo_lightning.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Columns:
    """Columns of a split, by a look at some of its rows.

    Args:
        read: Those that the format reads.
        unread: Fields that nobody reads, with the number of rows that have a value there, by who leaves them.
        refused: Why a run would refuse the split: a field whose name says what it means, and that nobody reads.
    """

    read: Sequence[str] = ()
    unread: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    refused: str | None = None

    @property
    def counts(self) -> dict[str, int]:
        """The number of rows of each field that nobody reads."""
        return {name: rows for each in self.unread.values() for name, rows in each.items()}


def columns_of(rows: Dataset, row_format: Format, encode: ExampleTokenizer | None) -> Columns:
    """Look at some rows of a split, see `look_at`; one that is not understood is passed over.

    Args:
        rows: The split, without the columns that the format ignores.
        row_format: The format.
        encode: Knows the chat template; None where there is no tokenizer.
    """
    quote = str if encode is None else encode.quote

    def read(row: Mapping[str, Any]) -> list[Example]:
        try:
            return read_examples(row_format, row, quote)
        except InputError:
            return []

    looked = look_at(rows, row_format, read)
    if looked is None or not looked.examples:
        return Columns()
    refused: str | None = None
    try:
        kinds = _left(rows, row_format, encode, looked)
    except InputError as error:
        refused = str(error)
        kinds = {f"{type(row_format).__name__} leaves": {shown_path(path): [path] for path in looked.unread}}
    there = {path[:end] for path in looked.found for end in range(1, len(path) + 1)}
    unread = {
        who: {name: count(rows, there.intersection(paths)) for name, paths in names.items()}
        for who, names in kinds.items()
        if names
    }
    return Columns(_read(rows.column_names, looked), unread, refused)


def _left(
    rows: Dataset, row_format: Format, encode: ExampleTokenizer | None, looked: Looked
) -> Mapping[str, Mapping[str, Sequence[Path]]]:
    """Return what is left by whom.

    Raises:
        InputError: where a run refuses it.
    """
    ignored = frozenset(row_format.ignore or ())
    if encode is not None:
        look = Look(rows, row_format, encode.tokenizer, looked, ignored)
        look.refuse()
        return look.unread_by
    unread = [path for path in looked.unread if shown_path(path) not in ignored]
    check_known(unread, row_format, rows)
    return {f"{type(row_format).__name__} leaves": {shown_path(path): [path] for path in unread}}


def _read(names: Collection[str], looked: Looked) -> list[str]:
    read = {path[0] for path in looked.found if not any(path[: len(left)] == left for left in looked.unread)}
    return [name for name in names if name in read]
