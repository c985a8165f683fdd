"""Rows that are to be scored, and how they are cut into batches."""

from __future__ import annotations

import numpy as np

from dpo_lightning.data.lengths import Lengths


class MissingRows:
    """Rows that are not in the cache, each once, in the order of their keys.

    Args:
        keys: Key of each row of a run.
        todo: Positions of the missing ones among them, each row once.
    """

    def __init__(self, keys: np.ndarray, todo: np.ndarray) -> None:
        self._todo = todo[np.argsort(keys[todo])]
        self._keys = keys[self._todo]
        self._is_done = np.zeros(len(todo), dtype=bool)

    def __len__(self) -> int:
        """Count the rows that are still missing."""
        return len(self._is_done) - int(self._is_done.sum())

    @property
    def rows(self) -> np.ndarray:
        """Positions of the rows that are still missing."""
        return self._todo[~self._is_done]

    def strike(self, keys: np.ndarray) -> None:
        """Take off the list the rows that have come."""
        if len(self._keys):
            places = np.searchsorted(self._keys, keys).clip(max=len(self._keys) - 1)
            self._is_done[places[self._keys[places] == keys]] = True


def cut_batches(rows: np.ndarray, lengths: Lengths, batch_tokens: int, is_tree: bool) -> list[np.ndarray]:
    """Order rows, the longest first, and cut where a batch's tokens would exceed the budget, padding included.

    Args:
        rows: Positions in `lengths`.
        lengths: Tokens of the rows.
        batch_tokens: The budget.
        is_tree: One packed row, or a padded one for each sequence.
    """
    if not len(rows):
        return []
    these = lengths.of(rows)
    # The most sequences of any row, so that the longest row is the widest one.
    sizes = these.tokens if is_tree else these.sequences.max() * these.longest
    order = np.argsort(-sizes, kind="stable")
    sizes = sizes[order]
    filled = np.cumsum(sizes)
    starts = [0]
    for place in range(1, len(sizes)):
        first = starts[-1]
        # In a padded batch every row is as wide as the first, which is the longest.
        held = filled[place] - filled[first] + sizes[first] if is_tree else (place + 1 - first) * sizes[first]
        if held > batch_tokens:
            starts.append(place)
    return np.split(rows[order], starts[1:])
