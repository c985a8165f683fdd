"""Tokenised rows as examples: one by one, as lists, or a batch in arrays."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import Dataset

from dpo_lightning.batch import TokenizedExample
from dpo_lightning.batch.columns import SOURCE
from dpo_lightning.batch.rows import ExampleRows
from dpo_lightning.data.columns import MASKS, NOTES, TOKENS, data_columns
from dpo_lightning.data.lengths import IDS
from dpo_lightning.data.mixing.epoch_rows import Part

if TYPE_CHECKING:
    import datasets


class ExampleDataset(Dataset[TokenizedExample]):
    """Tokenised rows as `TokenizedExample`.

    Args:
        rows: With the columns that `tokenize_rows` gives.
        sources: The parts of the rows where several sources are mixed; examples then say theirs as `data_source`.
    """

    def __init__(self, rows: datasets.Dataset, sources: Sequence[Part] = ()) -> None:
        self.rows = rows
        self._names = [part.name for part in sources]
        self._starts = [part.start for part in sources]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> TokenizedExample:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[TokenizedExample]:
        """Read a batch at once, which `DataLoader` prefers."""
        read = self.rows[indices]
        fields = {name: read[name] for name in TOKENS if name in read}
        columns = self._columns(read, indices)
        return [
            TokenizedExample(
                **{name: values[place] for name, values in fields.items()},
                columns={name: values[place] for name, values in columns.items()},
            )
            for place in range(len(indices))
        ]

    def in_arrays(self, indices: list[int]) -> Sequence[TokenizedExample]:
        """Read a batch at once for a collate function of this package, without a list of ids where that can be.

        It makes lists where tokens do not count, and where a completion of another prompt is read.
        """
        table = self._arrow[
            indices
        ].combine_chunks()  # of a chunk for each row, all that follows takes four times as long
        if "mismatched_ids" in table.column_names or ("scored" in table.column_names and len(_flat(table["scored"]))):
            return self.__getitems__(indices)
        completions = table["completion_ids"]
        each = _flat(completions)
        said = table.select([name for name in table.column_names if name not in (*IDS, *MASKS, *NOTES)]).to_pydict()
        return ExampleRows(
            said["row"],
            _numbers(_flat(table["prompt_ids"])),
            _counts(table["prompt_ids"]),
            _numbers(_flat(each)),
            _counts(each),
            _counts(completions),
            said.get("labels"),
            self._columns(said, indices),
        )

    def _columns(self, read: Mapping[str, Any], indices: list[int]) -> dict[str, Any]:
        columns = {name: read[name] for name in data_columns(read)}
        if self._names:
            columns[SOURCE] = [self._names[bisect_right(self._starts, index) - 1] for index in indices]
        return columns

    @cached_property
    def _arrow(self) -> Any:
        return self.rows.with_format("arrow")


class ExamplesInArrays(Dataset[TokenizedExample]):
    """The same examples, of which a batch is read into arrays.

    Args:
        examples: The examples.
    """

    def __init__(self, examples: ExampleDataset) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> TokenizedExample:
        return self.examples[index]

    def __getitems__(self, indices: list[int]) -> Sequence[TokenizedExample]:
        """Read a batch at once, which `DataLoader` prefers."""
        return self.examples.in_arrays(indices)


def _flat(lists: Any) -> Any:
    import pyarrow.compute as pc

    return pc.list_flatten(lists)


def _counts(lists: Any) -> np.ndarray:
    import pyarrow.compute as pc

    return _numbers(pc.list_value_length(lists))


def _numbers(values: Any) -> np.ndarray:
    found: np.ndarray = values.to_numpy().astype(np.int64)
    return found
