"""The protocol of scoring, for one process and for many ranks, and for runs beside each other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from lightning.pytorch.utilities import rank_zero_info

from dpo_lightning.batch import TokenizedExample
from dpo_lightning.data.content_hash import RowIndex
from dpo_lightning.errors import RunError
from dpo_lightning.reference.cache.lock import ScoringLock
from dpo_lightning.reference.cache.scorer import Scorer
from dpo_lightning.reference.cache.scoring_run import ScoringRun
from dpo_lightning.reference.cache.shards import write_shard
from dpo_lightning.reference.cache.store import Store
from dpo_lightning.reference.cache.worklist import MissingRows, cut_batches


@contextmanager
def our_turn(store: Store, missing: MissingRows, run: ScoringRun) -> Iterator[np.ndarray]:
    """Wait until no other run scores under the key, and keep others off inside; every rank must call it.

    Nobody waits where nothing is missing, or nothing any more since the others have scored it.

    Args:
        store: The key; only the first process looks into it.
        missing: The rows that were missing, the same on every process.
        run: The Trainer's part.

    Yields:
        Positions of the rows that are missing now, the same on every process.

    Raises:
        InputError: where nothing can be written.
        RunError: when the cache was pruned since its rows were looked up.
    """
    if not len(missing):
        yield missing.rows
        return
    lock = ScoringLock(store.directory) if run.is_first else None
    try:
        yield _wait(lock, store, missing, run)
    finally:
        if lock is not None:
            lock.give_back()


def _wait(lock: ScoringLock | None, store: Store, missing: MissingRows, run: ScoringRun) -> np.ndarray:
    """Ask until it is our turn. The ranks meet at each look, since a collective that waits for hours would time out."""

    def ask() -> np.ndarray | None:
        if lock is None:
            return None
        taken = lock.take()
        if taken:
            store.prepare_again()
        look(store, missing)  # after that, since a run writes what it has before it gives the lock back
        return missing.rows if taken or not len(missing) else None

    rows: np.ndarray | None = run.broadcast(ask())
    if rows is not None:
        return rows
    left = len(missing)
    if lock is not None:
        rank_zero_info(f"reference cache: waiting for {left} rows while another run is scoring{lock.remedy}")
    with run.bar("another run is scoring", left) as advance:
        while rows is None:
            if lock is not None:
                time.sleep(run.pace.seconds_between_looks)
            rows = run.broadcast(ask())
            advance(left - len(missing))
            left = len(missing)
    return rows


def look(store: Store, missing: MissingRows) -> None:
    """Strike the rows that were written since the last look."""
    for shard in store.scan():
        missing.strike(shard.keys)


class Scoring:
    """Scores rows, a few batches of each rank at a time.

    Args:
        pairs: The rows among others.
        index: Keys and lengths of all of these.
        store: Where rows are written; only the first process looks at what others wrote.
        scorer: Scores pairs; every rank runs it equally often.
        batch_tokens: Most tokens of a batch; a row that has more makes a batch alone.
        run: The Trainer's part.
    """

    def __init__(
        self,
        pairs: Sequence[TokenizedExample],
        index: RowIndex,
        store: Store,
        scorer: Scorer,
        batch_tokens: int,
        run: ScoringRun,
    ) -> None:
        self._pairs = pairs
        self._index = index
        self._store = store
        self._scorer = scorer
        self._batch_tokens = batch_tokens
        self._run = run

    def __call__(self, rows: np.ndarray) -> None:
        """Score and write.

        Args:
            rows: Positions of the rows to score, the same on every process.

        Raises:
            RunError: where the first process does not see what others have written.
        """
        missing = MissingRows(self._index.keys, rows)
        if not len(missing):
            return
        batches = cut_batches(missing.rows, self._index.lengths, self._batch_tokens, self._scorer.is_tree)
        together = self._run.ranks * self._run.pace.batches_between_meetings
        left = len(missing)
        with self._run.bar("scoring the reference", left) as advance:
            for start in range(0, len(batches), together):
                part = batches[start : start + together]
                self._score(part)
                self._run.barrier()
                count = sum(map(len, part))
                left -= count
                if self._run.is_first:
                    look(self._store, missing)
                    if len(missing) > left:
                        raise not_to_be_seen(self._store.directory)
                advance(count)

    def _score(self, batches: list[np.ndarray]) -> None:
        """Score this rank's batches; where it has fewer than others, it runs one again, since all must take part."""
        mine = batches[self._run.rank :: self._run.ranks]
        rounds = -(-len(batches) // self._run.ranks)
        shard = _OpenShard(self._store.directory, self._index.keys, self._run.pace.seconds_between_shards)
        for number in range(rounds):
            is_mine = number < len(mine)
            batch = mine[number] if is_mine else batches[0]
            values = self._scorer([self._pairs[row] for row in batch.tolist()])
            if is_mine and self._run.is_writer:
                shard.add(batch, values)
        shard.close()


class _OpenShard:
    """Rows that are not written yet."""

    def __init__(self, directory: Path, keys: np.ndarray, seconds: float) -> None:
        self._directory = directory
        self._keys = keys
        self._seconds = seconds
        self._rows: list[int] = []
        self._values: list[np.ndarray] = []
        self._since = time.monotonic()

    def add(self, rows: np.ndarray, values: list[np.ndarray]) -> None:
        """Take the rows of a batch, and write all where the last shard is long ago."""
        self._rows += rows.tolist()
        self._values += values
        if time.monotonic() - self._since >= self._seconds:
            self.close()

    def close(self) -> None:
        """Write what there is."""
        if self._rows:
            write_shard(self._directory, self._keys[self._rows], self._values)
        self._rows, self._values, self._since = [], [], time.monotonic()


def not_to_be_seen(directory: Path) -> RunError:
    """Name a directory where processes do not see what others wrote."""
    return RunError(
        f"reference cache {directory}: not every process sees the rows that another one has just written: set "
        "cache_dir to a file system that all nodes share"
    )
