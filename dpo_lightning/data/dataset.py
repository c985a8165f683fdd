"""Tokenised rows, one by one or a batch at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.utils.data import Dataset

from dpo_lightning.batch import TokenizedPair

if TYPE_CHECKING:
    import datasets


class PairDataset(Dataset[TokenizedPair]):
    """Tokenised rows as :class:`~dpo_lightning.batch.TokenizedPair`."""

    def __init__(self, rows: datasets.Dataset) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> TokenizedPair:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[TokenizedPair]:
        """Read a batch at once, which `DataLoader` prefers."""
        columns = self.rows[indices]
        names = [name for name in TokenizedPair._fields if name in columns]
        return [
            TokenizedPair(**dict(zip(names, pair, strict=True)))
            for pair in zip(*(columns[name] for name in names), strict=True)
        ]
