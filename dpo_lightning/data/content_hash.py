"""Rows by content: a key that survives reordering, subsetting and other files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import chain, pairwise, repeat
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from dpo_lightning.batch import COLUMNS, TokenizedExample
from dpo_lightning.data.columns import MASKS, TOKENS, data_columns
from dpo_lightning.data.lengths import BLOCK, Lengths

if TYPE_CHECKING:
    import datasets

KEY = np.dtype("S16")

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
    key = _key(prompt, completions, mismatched)
    return _masked(key, example.scored_branches) if example.scored or example.mismatched_scored else key


def index_examples(examples: Sequence[TokenizedExample]) -> RowIndex:
    """Return keys and lengths of examples in memory."""
    return RowIndex(np.array([*map(example_key, examples)], dtype=KEY), Lengths.of_examples(examples))


def index_rows(rows: datasets.Dataset) -> RowIndex:
    """Return keys and lengths of tokenised rows: some 3 s for a million, since no list of ids is built."""
    parts = []
    for block in rows.with_format("arrow").iter(batch_size=BLOCK):
        lengths = Lengths.of_table(block)
        keys = np.array([_key(*tokens) for tokens in _tokens(block, lengths)], dtype=KEY)
        for place, example in _with_masks(block):
            keys[place] = example_key(example)
        parts.append(RowIndex(keys, lengths))
    return RowIndex.joined(parts)


def content_hash(rows: datasets.Dataset) -> str:
    """Return the BLAKE2b-128 of the keys of all rows in their order, in hexadecimal; the same on any machine.

    Labels and columns are hashed, too, where there are any: no model reads them, and yet other ones make another
    training run.
    """
    digest = blake2b(index_rows(rows).keys.tobytes(), digest_size=KEY.itemsize)
    for _, values in _columns(rows):
        digest.update(values)
    return digest.hexdigest()


def column_hashes(rows: datasets.Dataset) -> dict[str, str]:
    """Return the BLAKE2b-128 of the values of each column that `content_hash` takes, by name, in hexadecimal."""
    return {name: blake2b(values, digest_size=KEY.itemsize).hexdigest() for name, values in _columns(rows)}


def _columns(rows: datasets.Dataset) -> Iterator[tuple[str, bytes]]:
    """Yield names and bytes of the columns, in the order in which they are hashed."""
    if "labels" in rows.column_names:
        yield "label", _LABEL.encode() + _flat(rows["labels"][:])
    for name in COLUMNS:
        if name in rows.column_names:
            yield name, name.encode() + _flat(rows[name][:])
    for name in sorted({*data_columns(rows.column_names)} - COLUMNS.keys()):
        yield name, json.dumps([name, rows[name][:]]).encode()


def _masked(key: bytes, masks: Sequence[Sequence[bool]]) -> bytes:
    """Return the key of the same tokens, of which these count."""
    digest = blake2b(key, digest_size=KEY.itemsize, person=_SOME)
    for mask in masks:
        digest.update(bytes(mask))
    return digest.digest()


def _with_masks(block: Any) -> Iterator[tuple[int, TokenizedExample]]:
    """Yield place and example of the rows of an Arrow table in which some tokens do not count."""
    import pyarrow.compute as pc

    masks = [name for name in MASKS if name in block.column_names]
    counts = sum((pc.list_value_length(block[name]).to_numpy() for name in masks), np.zeros(len(block), int))
    fields = [name for name in TOKENS if name in block.column_names]
    for place in np.flatnonzero(counts).tolist():
        (row,) = block.select(fields).slice(place, 1).to_pylist()
        yield place, TokenizedExample(**row)


def _flat(values: list[Any]) -> bytes:
    """Bytes of the numbers; of those of completions one after the other, since keys of rows say where each row ends."""
    if values and isinstance(values[0], list):
        values = list(chain.from_iterable(values))
    return np.asarray(values, dtype="<f4").tobytes()


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


def _tokens(block: Any, lengths: Lengths) -> Iterator[tuple[np.ndarray, list[np.ndarray], np.ndarray]]:
    """Yield the token ids of prompt, completions and mismatched completion of each row of an Arrow table."""
    import pyarrow.compute as pc

    counts = pc.list_value_length(block["completion_ids"]).to_numpy()
    flat = pc.list_flatten(block["completion_ids"])
    completions = _split(pc.list_flatten(flat), pc.list_value_length(flat).to_numpy())
    prompts = _split(pc.list_flatten(block["prompt_ids"]), lengths.prompt)
    others: Iterator[np.ndarray] = repeat(np.empty(0, "<i4"), len(counts))
    if "mismatched_ids" in block.column_names:
        others = _split(pc.list_flatten(block["mismatched_ids"]), lengths.mismatched)
    for prompt, count, mismatched in zip(prompts, counts.tolist(), others, strict=True):
        yield prompt, [next(completions) for _ in range(count)], mismatched


def _split(values: Any, lengths: np.ndarray) -> Iterator[np.ndarray]:
    """Cut a flat Arrow array into pieces of these lengths."""
    flat = values.to_numpy().astype("<i4", copy=False)
    ends = np.cumsum(lengths).tolist()
    return (flat[start:end] for start, end in pairwise([0, *ends]))
