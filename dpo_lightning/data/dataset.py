"""Tokenised rows, one by one or a batch at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.utils.data import Dataset

from dpo_lightning.batch import TokenizedExample
from dpo_lightning.data.columns import TOKENS, data_columns

if TYPE_CHECKING:
    import datasets


class ExampleDataset(Dataset[TokenizedExample]):
    """Tokenised rows as `TokenizedExample`.

    Args:
        rows: With the columns that `tokenize_rows` gives.
    """

    def __init__(self, rows: datasets.Dataset) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> TokenizedExample:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[TokenizedExample]:
        """Read a batch at once, which `DataLoader` prefers."""
        read = self.rows[indices]
        fields = {name: read[name] for name in TOKENS if name in read}
        columns = {name: read[name] for name in data_columns(read)}
        return [
            TokenizedExample(
                **{name: values[place] for name, values in fields.items()},
                columns={name: values[place] for name, values in columns.items()},
            )
            for place in range(len(indices))
        ]
