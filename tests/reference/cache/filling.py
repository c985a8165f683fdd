"""What the tests of the cache share: pairs, a fill without a Trainer, and what lies on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from dpo_lightning import Precomputed, TokenizedExample
from dpo_lightning.data.content_hash import KEY, index_examples
from dpo_lightning.reference import BoundPrecomputed
from dpo_lightning.reference.cache.scoring_run import ScoringRun
from dpo_lightning.reference.cache.shards import check_shard
from dpo_lightning.reference.cache.table import ReferenceTable
from tests.helpers.brute import brute_token_logps


def make_pairs(count: int, seed: int = 0) -> list[TokenizedExample]:
    """Different random pairs of a tiny model's tokens."""
    rng = np.random.default_rng(seed)
    return [
        TokenizedExample.pair(number, *(rng.integers(3, 64, size).tolist() for size in rng.integers(1, 9, 3)))
        for number in range(count)
    ]


def no_rebuild() -> nn.Module:
    raise AssertionError("the policy is not to be loaded again")


def fill(
    reference: BoundPrecomputed,
    pairs: Sequence[TokenizedExample],
    rebuild: Callable[[], nn.Module] = no_rebuild,
    **run: Any,
) -> ReferenceTable:
    """Fill the cache without a Trainer; the table of all rows."""
    reference.fill([pairs], ScoringRun(**run), rebuild)
    assert reference.table is not None
    return reference.table


def bound(policy: nn.Module, cache_dir: Path, **settings: Any) -> BoundPrecomputed:
    """A reference, bound to a policy."""
    return Precomputed(str(cache_dir), **settings).bind(policy)


def values(table: ReferenceTable, pairs: Sequence[TokenizedExample]) -> list[np.ndarray]:
    """Of each pair: chosen, then rejected tokens."""
    return table.rows(index_examples(pairs).keys)


def brute_values(model: nn.Module, pairs: Sequence[TokenizedExample]) -> list[np.ndarray]:
    """The same, the slow way."""
    rows = brute_token_logps(model, pairs)
    return [
        np.array(chosen + rejected) for chosen, rejected in zip(rows[: len(pairs)], rows[len(pairs) :], strict=True)
    ]


def largest_difference(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    assert [len(row) for row in one] == [len(row) for row in other]
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


def rows_on_disk(cache_dir: Path) -> np.ndarray:
    """The key of every row in every shard, under all keys; a row that was scored twice is there twice."""
    return np.concatenate([np.empty(0, KEY), *(check_shard(path).keys for path in shards(cache_dir))])


def shards(cache_dir: Path) -> list[Path]:
    return sorted(cache_dir.glob("*/*.shard"))
