"""Tokenised rows a block at a time, as they lie in their file, whichever of them a dataset holds and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from dpo_lightning.compat.datasets import chosen_rows

if TYPE_CHECKING:
    import datasets

T = TypeVar("T")

BLOCK = 4096
"""Most rows that are read at once."""


class Blocks(NamedTuple):
    """Results of reading a dataset's file block by block.

    Attributes:
        parts: What was read of each block, for the rows of it that the dataset holds, each once.
        order: Where each of the dataset's rows is among them, `[rows]`.
    """

    parts: Sequence[Any]
    order: np.ndarray


def read_blocks(rows: datasets.Dataset, columns: Sequence[str], read: Callable[[Any], T]) -> Blocks:
    """Read columns of a dataset block by block.

    `datasets` gathers rows that were selected one by one, at some 30 us each; here a block is taken at once.

    Args:
        rows: The dataset.
        columns: Names of columns; those that it does not have are left out.
        read: Reads an Arrow table of at most `BLOCK` rows.
    """
    table = rows.data.table.select([name for name in columns if name in rows.column_names])
    chosen = chosen_rows(rows)
    held, order = (None, np.arange(len(rows))) if chosen is None else np.unique(chosen, return_inverse=True)
    return Blocks([read(block) for block in _blocks(table, held)], order)


def _blocks(table: Any, held: np.ndarray | None) -> Iterator[Any]:
    """Yield what is held of each block of a table, where anything of it is; all of it where `held` is None."""
    import pyarrow as arrow

    first = 0
    for batch in table.to_batches(max_chunksize=BLOCK):
        end = first + len(batch)
        if held is not None:
            within = held[slice(*np.searchsorted(held, [first, end]))] - first
            if len(within) < len(batch):
                batch = batch.take(arrow.array(within))  # noqa: PLW2901
        if len(batch):
            yield arrow.Table.from_batches([batch])
        first = end
