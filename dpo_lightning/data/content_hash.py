"""Rows by content: a key that survives reordering, subsetting and other files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from dpo_lightning.batch import PairColumns, TokenizedPair

if TYPE_CHECKING:
    import datasets

KEY = np.dtype("S16")

_IDS = ("prompt_ids", "chosen_ids", "rejected_ids")
_BESIDE_THE_TOKENS = ("desirable", *PairColumns._fields)
_BLOCK = 4096


class RowIndex(NamedTuple):
    """What is known of rows without reading their tokens again.

    Attributes:
        keys: Key of each row, ``[rows]`` of ``KEY``.
        lengths: Tokens of prompt, chosen and rejected completion, ``[rows, 3]``.
    """

    keys: np.ndarray
    lengths: np.ndarray


def pair_key(pair: TokenizedPair) -> bytes:
    """BLAKE2b-128 of the token ids of prompt, chosen and rejected completion, and of where each ends."""
    return _key(*(np.asarray(ids, dtype="<i4") for ids in pair[1:4]))


def index_pairs(pairs: Sequence[TokenizedPair]) -> RowIndex:
    """Keys and lengths of pairs in memory."""
    keys = np.array([pair_key(pair) for pair in pairs], dtype=KEY)
    return RowIndex(keys, np.array([[*map(len, pair[1:4])] for pair in pairs], dtype=np.int64).reshape(-1, 3))


def index_rows(rows: datasets.Dataset) -> RowIndex:
    """Keys and lengths of tokenised rows: some 3 s for a million, since no list of ids is built."""
    keys: list[bytes] = []
    lengths: list[np.ndarray] = []
    for block in rows.with_format("arrow").iter(batch_size=_BLOCK):
        columns = [_column(block[name]) for name in _IDS]
        keys += [_key(*row) for row in zip(*(_split(*column) for column in columns), strict=True)]
        lengths.append(np.stack([np.diff(offsets) for _, offsets in columns], axis=1))
    return RowIndex(np.array(keys, dtype=KEY), np.concatenate([np.empty((0, 3), dtype=np.int64), *lengths]))


def content_hash(rows: datasets.Dataset) -> str:
    """BLAKE2b-128 of the keys of all rows in their order, in hexadecimal; the same for equal rows on any machine.

    Labels, margins, probabilities and weights are hashed, too, where there are any: no model reads them, and yet other
    ones make another training run.
    """
    digest = blake2b(index_rows(rows).keys.tobytes(), digest_size=KEY.itemsize)
    for name in _BESIDE_THE_TOKENS:
        if name in rows.column_names:
            digest.update(name.encode())
            digest.update(np.asarray(rows[name][:], dtype="<f4").tobytes())
    return digest.hexdigest()


def _key(prompt: np.ndarray, chosen: np.ndarray, rejected: np.ndarray) -> bytes:
    digest = blake2b(np.array([len(prompt), len(chosen)], dtype="<i8").tobytes(), digest_size=KEY.itemsize)
    for ids in (prompt, chosen, rejected):
        digest.update(cast(Any, ids))
    return digest.digest()


def _column(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """Values and offsets of a column of lists."""
    lists = column.combine_chunks()
    return lists.values.to_numpy().astype("<i4", copy=False), lists.offsets.to_numpy().astype(np.int64)


def _split(values: np.ndarray, offsets: np.ndarray) -> Iterator[np.ndarray]:
    bounds = offsets.tolist()
    return (values[start:end] for start, end in pairwise(bounds))
