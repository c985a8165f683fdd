"""Look-up of pairs in the cache, and scoring of those that it lacks, into a table that holds them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn
from torch.utils.data import ConcatDataset, Dataset

from dpo_lightning.batch import TokenizedExample
from dpo_lightning.data.content_hash import RowIndex, index_examples, index_rows
from dpo_lightning.data.dataset import ExampleDataset
from dpo_lightning.errors import InputError, RunError
from dpo_lightning.reference.cache.score_missing import Scoring, not_to_be_seen, our_turn
from dpo_lightning.reference.cache.scored_model import Source
from dpo_lightning.reference.cache.scorer import Scorer, difference
from dpo_lightning.reference.cache.scoring_run import ScoringRun
from dpo_lightning.reference.cache.store import Key, Store, stored_keys
from dpo_lightning.reference.cache.table import ReferenceTable
from dpo_lightning.reference.cache.worklist import MissingRows, cut_batches

_CHECKED_ROWS = 4  # of each shard; scoring writes one in ten seconds or more


class Rows(NamedTuple):
    """Pairs, and the keys and lengths that are known without reading them."""

    pairs: Sequence[TokenizedExample]
    known: RowIndex

    @classmethod
    def of(cls, parts: Sequence[Sequence[TokenizedExample]]) -> Rows:
        """Join all parts.

        Raises:
            InputError: when there is no pair.
        """
        parts = [part for part in parts if len(part)]
        if not parts:
            raise InputError(
                "reference Precomputed has no pairs to score: take a PreferenceDataModule, or give the pairs of your "
                "loader to module.with_reference(collate, pairs)"
            )
        indices = [
            index_rows(part.rows) if isinstance(part, ExampleDataset) else index_examples(part) for part in parts
        ]
        return cls(
            cast(Sequence[TokenizedExample], ConcatDataset(cast(list[Dataset], parts))), RowIndex.joined(indices)
        )


def fill(
    rows: Rows,
    place: tuple[Path, Key],
    source: Source,
    rebuild: Callable[[], nn.Module],
    run: ScoringRun,
    batch_tokens: int,
) -> ReferenceTable:
    """Check rows of every shard that is there, score those that are not, and return all; every rank must call it.

    See `Precomputed.fill` for arguments and errors; `place` is the cache's directory and the key in it.
    """
    with isolate_rng():
        store = Store(*place)
        if run.is_first:
            store.prepare()
        found: Found = run.broadcast(_find(rows, store, place) if run.is_first else None)
        missing = MissingRows(rows.known.keys, found.missing)
        with our_turn(store, missing, run) as todo, source.loaded(len(todo) > 0, rebuild) as loaded:
            if loaded is not None:
                scorer = Scorer(loaded.model, loaded.token_logps, run.context)
                _check(scorer, rows, found, batch_tokens, store)
                Scoring(*rows, store, scorer, batch_tokens, run)(todo)
        paths = run.broadcast([shard.path for shard in store.shards])
    return _open(paths, rows, store)


class Found(NamedTuple):
    """Rows that the cache has, and that it lacks.

    Attributes:
        missing: Positions of the rows that it lacks, each row once.
        some: Positions of a few that it has, drawn from every shard.
        cached: Their values.
    """

    missing: np.ndarray
    some: list[int]
    cached: list[np.ndarray]


def _find(rows: Rows, store: Store, place: tuple[Path, Key]) -> Found:
    store.scan()
    table = ReferenceTable([shard.path for shard in store.shards])
    keys = rows.known.keys
    has = table.has(keys)
    _, first = np.unique(keys, return_index=True)
    missing = first[~has[first]]
    rank_zero_info(_report(rows, missing, place))
    there = first[has[first]]
    some = _some_of_each(table.shards(keys[there]), there)
    return Found(missing, some.tolist(), [np.array(row) for row in table.rows(keys[some])])


def _some_of_each(shards: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Draw rows of each shard, others in each run: what no fixed choice meets would never be noticed."""
    drawn = np.random.default_rng().permutation(len(there))  # seeded by the system, not by the run
    order = drawn[np.argsort(shards[drawn], kind="stable")]
    ordered = shards[order]
    place_in_shard = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return np.sort(there[order[place_in_shard < _CHECKED_ROWS]])


def _report(rows: Rows, missing: np.ndarray, place: tuple[Path, Key]) -> str:
    cache_dir, key = place
    different = len(np.unique(rows.known.keys))
    line = f"reference cache {cache_dir / key.name}: {different - len(missing)} of {different} different rows are there"
    if not len(missing):
        return line
    line += f", {len(missing)} are scored now ({rows.known.lengths.tokens[missing].sum():,} tokens)"
    others = [other for _, other, _ in stored_keys(cache_dir) if other.name != key.name]
    if precisions := sorted(other.precision for other in others if other.weights == key.weights):
        return f"{line}; the same weights were scored in precision {', '.join(precisions)} instead of {key.precision}"
    if others and len(missing) == different:
        return f"{line}; the cache holds other weights only, under {len(others)} keys: see `dpo-lightning cache info`"
    return line


def _check(scorer: Scorer, rows: Rows, found: Found, batch_tokens: int, store: Store) -> None:
    cached = dict(zip(found.some, found.cached, strict=True))
    for batch in cut_batches(np.array(found.some, dtype=int), rows.known.lengths, batch_tokens, scorer.is_tree):
        some = batch.tolist()
        if problem := difference(scorer, [rows.pairs[row] for row in some], [cached[row] for row in some]):
            raise RunError(
                f"the reference cache {store.directory} does not hold this reference's values: {problem}; remove it "
                f"with `dpo-lightning cache prune --key {store.directory.name}`, and see who may write there"
            )


def _open(paths: Sequence[Path], rows: Rows, store: Store) -> ReferenceTable:
    try:
        table = ReferenceTable(paths)
    except FileNotFoundError:
        table = ReferenceTable([])
    if not table.has(rows.known.keys).all():
        raise not_to_be_seen(store.directory)
    return table
