"""Rows by content: a key that survives reordering, subsetting and other files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from dpo_lightning.batch import COLUMNS, TokenizedExample
from dpo_lightning.data.blocks import read_blocks
from dpo_lightning.data.columns import MASKS, data_columns
from dpo_lightning.data.kept_beside import kept_beside
from dpo_lightning.data.lengths import IDS, Lengths

if TYPE_CHECKING:
    import datasets

KEY = np.dtype("S16")

_KEYS_VERSION = 1  # in the names of files with keys: change it with anything that changes them
_LABEL = "desirable"  # as checkpoints of earlier versions have hashed it
_MANY, _SOME = b"many completions", b"some tokens"  # a personalised hash never meets the plain one


class RowIndex(NamedTuple):
    """Keys and lengths of rows, known without reading their tokens again.

    Attributes:
        keys: Key of each row, `[rows]` of `KEY`.
        lengths: Tokens of each row.
    """

    keys: np.ndarray
    lengths: Lengths

    @classmethod
    def joined(cls, parts: Sequence[RowIndex]) -> RowIndex:
        """Put the rows of parts one after the other."""
        keys = [np.empty(0, KEY), *(part.keys for part in parts)]
        return cls(np.concatenate(keys), Lengths.joined([part.lengths for part in parts]))


def example_key(example: TokenizedExample) -> bytes:
    """Return the BLAKE2b-128 of the token ids of prompt and branches, and of where each ends.

    Labels, columns and row number are no part of it, since no model reads them. Where some tokens do not count, which
    ones is: a reference scores those that do.
    """
    prompt, mismatched, *completions = (
        np.asarray(ids, dtype="<i4") for ids in (example.prompt_ids, example.mismatched_ids, *example.completion_ids)
    )
    return _masked(_key(prompt, completions, mismatched), example)


def index_examples(examples: Sequence[TokenizedExample]) -> RowIndex:
    """Return keys and lengths of examples in memory."""
    return RowIndex(np.array([*map(example_key, examples)], dtype=KEY), Lengths.of_examples(examples))


def index_rows(rows: datasets.Dataset) -> RowIndex:
    """Return keys and lengths of tokenised rows: some 2 us a row, once, since keys are kept beside the rows' file."""
    return RowIndex(_row_keys(rows), Lengths.of_rows(rows))


def content_hash(rows: datasets.Dataset) -> str:
    """Return the BLAKE2b-128 of the keys of all rows in their order, in hexadecimal; the same on any machine.

    Labels and columns are hashed, too, where there are any: no model reads them, and yet other ones make another
    training run.
    """
    digest = blake2b(_row_keys(rows).tobytes(), digest_size=KEY.itemsize)
    for _, values in _columns(rows):
        digest.update(values)
    return digest.hexdigest()


def column_hashes(rows: datasets.Dataset) -> dict[str, str]:
    """Return the BLAKE2b-128 of the values of each column that `content_hash` takes, by name, in hexadecimal."""
    return {name: blake2b(values, digest_size=KEY.itemsize).hexdigest() for name, values in _columns(rows)}


def _columns(rows: datasets.Dataset) -> Iterator[tuple[str, bytes]]:
    """Yield names and bytes of the columns, in the order in which they are hashed."""
    if "labels" in rows.column_names:
        yield "label", _LABEL.encode() + _numbers(rows["labels"][:])
    for name in COLUMNS:
        if name in rows.column_names:
            yield name, name.encode() + _numbers(rows[name][:])
    for name in sorted({*data_columns(rows.column_names)} - COLUMNS.keys()):
        yield name, json.dumps([name, rows[name][:]]).encode()


def _numbers(values: list[Any]) -> bytes:
    """Return the bytes of the numbers, those of completions one after the other: keys of rows say where a row ends."""
    if values and isinstance(values[0], list):
        values = list(chain.from_iterable(values))
    return np.asarray(values, dtype="<f4").tobytes()


def _masked(key: bytes, example: TokenizedExample) -> bytes:
    """Return the key of the same tokens, of which some may not count."""
    if not any([*example.scored, example.mismatched_scored]):
        return key
    digest = blake2b(key, digest_size=KEY.itemsize, person=_SOME)
    for mask in example.scored_branches:
        digest.update(bytes(mask))
    return digest.digest()


def _key(prompt: np.ndarray, completions: Sequence[np.ndarray], mismatched: np.ndarray) -> bytes:
    """Hash a prompt and its branches: up to two of them as pairs have always been hashed."""
    branches = [*completions, mismatched] if len(mismatched) else completions
    if len(branches) <= 2:  # the prompt and the first branch say where the second begins
        ends, person = [len(prompt), len(branches[0])], b""
    else:
        ends, person = [len(branches), len(prompt), *map(len, branches)], _MANY
    digest = blake2b(np.array(ends, dtype="<i8").tobytes(), digest_size=KEY.itemsize, person=person)
    for ids in (prompt, *branches):
        digest.update(cast(Any, ids))
    return digest.digest()


def _row_keys(rows: datasets.Dataset) -> np.ndarray:
    def compute() -> np.ndarray:
        parts, order = read_blocks(rows, (*IDS, *MASKS), _keys_with_masks)
        return np.concatenate([np.empty(0, KEY), *parts])[order]

    return kept_beside(rows, f"keys-{_KEYS_VERSION}", compute)


def _keys_with_masks(table: Any) -> np.ndarray:
    keys = _keys(table)
    masks = [_counts(table[name]) for name in MASKS if name in table.column_names]
    for place in np.flatnonzero(sum(masks)).tolist() if masks else ():
        (row,) = table.slice(place, 1).to_pylist()
        keys[place] = _masked(keys[place], TokenizedExample(place, **row))
    return keys


def _keys(table: Any) -> np.ndarray:
    """Return what `_key` returns, for each row of an Arrow table, in which the completions of a row are one piece."""
    lengths = Lengths.of_table(table)
    ends, sizes, many = _ends(table, lengths)
    parts = [
        _pieces(ends, sizes),
        _pieces(_flat(table["prompt_ids"]), lengths.prompt),
        _pieces(_flat(_flat(table["completion_ids"])), lengths.completions.sum(1)),
    ]
    if lengths.mismatched.any():
        parts.append(_pieces(_flat(table["mismatched_ids"]), lengths.mismatched))
    kinds = [blake2b(digest_size=KEY.itemsize, person=person) for person in (b"", _MANY)]
    keys = []
    for is_many, *pieces in zip(many.tolist(), *parts, strict=True):
        digest = kinds[is_many].copy()
        for piece in pieces:
            digest.update(piece)
        keys.append(digest.digest())
    return np.array(keys, KEY)


def _ends(table: Any, lengths: Lengths) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what `_key` hashes before the tokens, how many numbers of it each row has, and which rows are `_MANY`."""
    counts, others = _counts(table["completion_ids"]), lengths.mismatched > 0
    branches = counts + others
    of_branches = np.insert(
        _counts(_flat(table["completion_ids"])), np.cumsum(counts)[others], lengths.mismatched[others]
    )
    many = branches > 2
    sizes = np.where(many, branches, 0) + 2
    starts = np.cumsum(sizes) - sizes
    ends = np.empty(sizes.sum(), dtype="<i8")
    ends[starts] = np.where(many, branches, lengths.prompt)
    ends[starts + 1] = np.where(many, lengths.prompt, of_branches[np.cumsum(branches) - branches])
    rest = np.ones(len(ends), dtype=bool)
    rest[starts] = rest[starts + 1] = False
    ends[rest] = of_branches[np.repeat(many, branches)]
    return ends, sizes, many


def _counts(lists: Any) -> np.ndarray:
    import pyarrow.compute as pc

    return pc.list_value_length(lists).to_numpy().astype(np.int64)


def _flat(lists: Any) -> Any:
    import pyarrow.compute as pc

    return pc.list_flatten(lists)


def _pieces(values: Any, lengths: np.ndarray) -> Iterator[memoryview]:
    """Cut a flat array, of NumPy or of Arrow, into the bytes of pieces of these lengths."""
    values = values if isinstance(values, np.ndarray) else values.to_numpy().astype("<i4", copy=False)
    view = memoryview(cast(Any, np.ascontiguousarray(values))).cast("B")
    stops = (np.cumsum(lengths) * values.itemsize).tolist()
    return (view[start:stop] for start, stop in pairwise([0, *stops]))
