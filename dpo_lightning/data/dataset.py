"""Tokenised rows, one by one or a batch at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch.utils.data import Dataset

from dpo_lightning.batch import TokenizedExample
from dpo_lightning.batch.columns import SOURCE
from dpo_lightning.data.columns import TOKENS, data_columns
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
        columns = {name: read[name] for name in data_columns(read)}
        if self._names:
            columns[SOURCE] = [self._names[bisect_right(self._starts, index) - 1] for index in indices]
        return [
            TokenizedExample(
                **{name: values[place] for name, values in fields.items()},
                columns={name: values[place] for name, values in columns.items()},
            )
            for place in range(len(indices))
        ]
