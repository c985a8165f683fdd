"""Tokenised rows as examples: one by one, as lists, or a batch in arrays."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch.utils.data import Dataset

from dpo_lightning.batch import TokenizedExample
from dpo_lightning.batch.columns import SOURCE
from dpo_lightning.batch.rows import ExampleRows
from dpo_lightning.data.columns import MASKS, NOTES, TOKENS, data_columns
from dpo_lightning.data.gathered import IdTable
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
        if not indices or "mismatched_ids" in self.rows.column_names or not self._ids.are_empty("scored", indices):
            return self.__getitems__(indices)
        prompts = self._ids.lists("prompt_ids", indices)
        completions = self._ids.nested("completion_ids", indices)
        said = {} if self._said is None else self._said[indices]
        return ExampleRows(
            self._ids.numbers("row", indices),
            prompts.ids,
            prompts.lengths,
            completions.ids,
            completions.lengths,
            completions.counts,
            said.get("labels"),
            self._columns(said, indices),
        )

    def _columns(self, read: Mapping[str, Any], indices: list[int]) -> dict[str, Any]:
        columns = {name: read[name] for name in data_columns(read)}
        if self._names:
            columns[SOURCE] = [self._names[bisect_right(self._starts, index) - 1] for index in indices]
        return columns

    @cached_property
    def _ids(self) -> IdTable:
        return IdTable(self.rows)

    @cached_property
    def _said(self) -> datasets.Dataset | None:
        """Rows of what the data says beside tokens; None where it says nothing."""
        names = [name for name in self.rows.column_names if name not in _NOT_SAID]
        return self.rows.with_format(None).select_columns(names) if names else None


_NOT_SAID = ("row", *IDS, *MASKS, *NOTES)


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
