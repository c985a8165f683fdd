"""Values by row, for the loader's workers and the step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpo_lightning.batch import Collate, PreferenceBatch, TokenizedExample, sequence_order
from dpo_lightning.data.content_hash import KEY, example_key
from dpo_lightning.errors import InputError, RunError
from dpo_lightning.reference.cache.shards import open_shard


class ReferenceTable:
    """The rows of some shards: some 40 bytes of memory for each, the values stay on disk.

    Args:
        paths: The shards, whose checksums were compared before. Pickled, the table is these paths.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = list(paths)
        shards = [open_shard(path) for path in paths]
        self._values = [shard.values for shard in shards]
        keys = np.concatenate([np.empty(0, KEY), *(shard.keys for shard in shards)])
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        self._shard = np.repeat(np.arange(len(shards), dtype=np.int32), [len(shard.keys) for shard in shards])[order]
        bounds = [np.stack([shard.starts[:-1], shard.starts[1:]], axis=1) for shard in shards]
        self._bounds = np.concatenate([np.empty((0, 2), np.int64), *bounds])[order]

    def __reduce__(self) -> Any:
        return ReferenceTable, (self._paths,)

    def has(self, keys: np.ndarray) -> np.ndarray:
        """Say of each key if it is in the table."""
        return self._find(keys)[1]

    def shards(self, keys: np.ndarray) -> np.ndarray:
        """Return the number of the shard that each key's row is read from; every key must be in the table."""
        return self._shard[self._find(keys)[0]]

    def rows(self, keys: np.ndarray) -> list[np.ndarray]:
        """Return the values of each key's row: the tokens of its branches, one branch after the other.

        Raises:
            KeyError: with the position of the first key that is not in the table.
        """
        places, found = self._find(keys)
        if not found.all():
            raise KeyError(int(np.argmin(found)))
        return [
            self._values[shard][start:end]
            for shard, (start, end) in zip(self._shard[places].tolist(), self._bounds[places].tolist(), strict=True)
        ]

    def _find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not len(self._keys):
            return np.zeros(len(keys), dtype=int), np.zeros(len(keys), dtype=bool)
        places = np.searchsorted(self._keys, keys).clip(max=len(self._keys) - 1)
        return places, self._keys[places] == keys


@dataclass
class TableSlot:
    """Place that a table comes to once all rows are scored; loaders are made before."""

    table: ReferenceTable | None = None


class CollateWithReference:
    """A collate function that brings the reference's values with the batch.

    Args:
        collate: Makes the batch.
        slot: The place of the table with the values.
    """

    def __init__(self, collate: Collate, slot: TableSlot) -> None:
        self._collate = collate
        self._slot = slot

    def __call__(self, pairs: Sequence[TokenizedExample]) -> PreferenceBatch:
        """Collate, and look the pairs up.

        Raises:
            InputError: before the pairs are scored, or for a pair that is not among them.
        """
        if self._slot.table is None:
            raise InputError(
                "reference Precomputed: a batch is asked for before the Trainer has scored its pairs: give a "
                "DataLoader of your own num_workers=0, since Lightning starts its workers too early"
            )
        try:
            rows = self._slot.table.rows(np.array([example_key(pair) for pair in pairs], dtype=KEY))
        except KeyError as error:
            raise InputError(
                f"reference Precomputed: the pair {pairs[error.args[0]].place} was never scored: give all pairs of "
                "your loaders to module.with_reference(collate, pairs)"
            ) from None
        batch = self._collate(pairs)
        return batch._replace(reference_logps=pack(batch, pairs, rows))


def pack(batch: PreferenceBatch, examples: Sequence[TokenizedExample], rows: Sequence[np.ndarray]) -> Tensor:
    """Return values of rows in the order of a batch's scored tokens, as the bits of float32; int32 `[N]`.

    Args:
        batch: A batch of these examples, which may leave out their last completions.
        examples: The examples.
        rows: Values of each example's branches.

    Raises:
        RunError: for a row that has not one value for each token.
    """
    for example, row in zip(examples, rows, strict=True):
        if len(row) != (tokens := sum(map(sum, example.scored_branches))):
            raise RunError(
                f"the reference cache has {len(row)} values for the {tokens} tokens of pair {example.place}: somebody "
                "has edited it: `dpo-lightning cache prune` removes it"
            )
    kept = [_kept(each, count, batch) for each, count in zip(examples, batch.completions, strict=True)]
    values = []
    for number, k in sequence_order(kept):
        counts = [*map(sum, examples[number].scored_branches)]
        place = k if k < batch.completions[number] else len(counts) - 1  # the mismatched one is the last
        start = sum(counts[:place])
        values.append(rows[number][start : start + counts[place]])
    return torch.from_numpy(np.concatenate(values).astype(np.float32).view(np.int32))


def _kept(example: TokenizedExample, completions: int, batch: PreferenceBatch) -> TokenizedExample:
    """The example as it is in the batch."""
    mismatched = example.mismatched_ids if batch.mismatched else []
    return example.first(completions)._replace(mismatched_ids=mismatched)


def unpack(batch: PreferenceBatch, logps: Tensor) -> list[np.ndarray]:
    """Return the values of each example's branches, float32, from log-probs `[N]` of a batch's scored tokens."""
    sequences = np.split(logps.detach().float().cpu().numpy(), np.cumsum(batch.lengths.cpu().numpy())[:-1])
    rows: list[list[np.ndarray]] = [[] for _ in range(batch.examples)]
    for sequence, example in zip(sequences, batch.example_of_sequence.tolist(), strict=True):
        rows[example].append(sequence)
    return [np.concatenate(row) for row in rows]
