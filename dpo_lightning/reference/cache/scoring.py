"""Score the rows that the cache lacks: one protocol for one process, many ranks, and runs beside each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from lightning.pytorch.utilities import move_data_to_device, rank_zero_info
from torch import Tensor, nn

from dpo_lightning.attention import tree_problem
from dpo_lightning.batch import Collate, PairBatch, TokenizedPair, collate_padded, collate_tree
from dpo_lightning.data.content_hash import RowIndex
from dpo_lightning.errors import RunError
from dpo_lightning.reference.cache.claims import Claims, buckets_of
from dpo_lightning.reference.cache.shards import write_shard
from dpo_lightning.reference.cache.store import Store
from dpo_lightning.reference.cache.table import unpack
from dpo_lightning.utils.tensors import device_of, float_dtype_of
from dpo_lightning.utils.torch_modes import compute_dtype

# A kill costs at most what is scored between two shards; a barrier and a look at the directory end each unit.
_SECONDS_BETWEEN_SHARDS = 10.0
_BATCHES_PER_UNIT = 8
_SECONDS_BETWEEN_LOOKS = 0.5

# Absolute and relative, of a token's log-prob: another device or layout sums in another order.
_TOLERANCE = {torch.float32: 2e-3, torch.float64: 2e-3}
_TOLERANCE_OTHERWISE = 0.1


@dataclass
class ScoringRun:
    """What scoring needs to know of the Trainer; the defaults are those of one process without one.

    Attributes:
        precision: Lightning's name of the precision.
        rank: Data-parallel rank.
        ranks: Number of data-parallel ranks.
        is_first: Whether this process decides and reports.
        is_writer: Whether it writes its rank's rows: one of the processes that share a rank under tensor parallelism.
        broadcast: The first process's object, on every process.
        barrier: Waits for every process.
        context: Makes the context in which a step's forward runs: autocast, or nothing.
        progress: Whether to show a progress bar.
    """

    precision: str = "32-true"
    rank: int = 0
    ranks: int = 1
    is_first: bool = True
    is_writer: bool = True
    broadcast: Callable[[Any], Any] = lambda thing: thing
    barrier: Callable[[], Any] = lambda: None
    context: Callable[[], AbstractContextManager[Any]] = nullcontext
    progress: bool = False


class Scorer:
    """A model that scores, and the layout that fits it.

    Args:
        model: The model that runs, asked for its device and whether the tree layout fits it.
        token_logps: Log-probs of a batch's scored tokens.
        context: See `ScoringRun`.
    """

    def __init__(
        self,
        model: nn.Module,
        token_logps: Callable[[PairBatch], Float[Tensor, " N"]],
        context: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self._model = model
        self._token_logps = token_logps
        self._context = context
        self.is_tree = tree_problem(model) is None
        self._collate: Collate = collate_tree if self.is_tree else collate_padded

    def __call__(self, pairs: Sequence[TokenizedPair]) -> list[np.ndarray]:
        """Values of each pair: chosen, then rejected tokens, float32 nats.

        Raises:
            RunError: for a value that is no number, naming the pair.
        """
        device = self._device
        batch: PairBatch = move_data_to_device(self._collate(pairs), device)
        with torch.no_grad(), self._context():
            rows = unpack(batch, self._token_logps(batch))
        for pair, row in zip(pairs, rows, strict=True):
            if not np.isfinite(row).all():
                raise RunError(
                    f"reference Precomputed: a log-prob of pair {pair.pair_id} is no finite number: raise the precision"
                )
        return rows

    @property
    def tolerance(self) -> float:
        """How far the values may be from cached ones, absolute and relative."""
        with self._context():
            return _TOLERANCE.get(
                compute_dtype(torch.empty(0, dtype=float_dtype_of(self._model), device=self._device)),
                _TOLERANCE_OTHERWISE,
            )

    @property
    def _device(self) -> torch.device:
        return device_of(self._model)


class MissingRows:
    """Rows that are not in the cache, each once, in the order of their keys.

    Args:
        pairs: The rows among others.
        index: Keys and lengths of all of these.
        todo: Positions of the missing rows in ``pairs``.
    """

    def __init__(self, pairs: Sequence[TokenizedPair], index: RowIndex, todo: np.ndarray) -> None:
        self.pairs = pairs
        self.index = index
        self._todo = todo[np.argsort(index.keys[todo])]
        self._keys = index.keys[self._todo]
        self._buckets = buckets_of(self._keys)
        self._is_done = np.zeros(len(todo), dtype=bool)

    def __len__(self) -> int:
        """Rows that are still missing."""
        return len(self._is_done) - int(self._is_done.sum())

    def by_bucket(self) -> Iterator[tuple[int, np.ndarray]]:
        """Each bucket that rows are missing of, and their places."""
        places = np.flatnonzero(~self._is_done)
        ends = np.flatnonzero(np.diff(self._buckets[places])) + 1
        for part in np.split(places, ends) if len(places) else []:
            yield int(self._buckets[part[0]]), part

    def still(self, places: np.ndarray) -> np.ndarray:
        """Positions in ``pairs`` of those of these places whose rows have not come."""
        return self._todo[places[~self._is_done[places]]]

    def tokens(self, places: np.ndarray) -> int:
        """Tokens of the rows at these places."""
        return int(self.index.lengths[self._todo[places]].sum())

    def strike(self, keys: np.ndarray) -> None:
        """Take rows that have come from the list."""
        if len(self._keys):
            places = np.searchsorted(self._keys, keys).clip(max=len(self._keys) - 1)
            self._is_done[places[self._keys[places] == keys]] = True


@contextmanager
def progress_bar(shown: bool, rows: int) -> Iterator[Callable[[int], Any]]:
    """A bar that counts rows, as the function that moves it."""
    if not shown:
        yield lambda count: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns) as progress:
        task = progress.add_task("scoring the reference", total=rows)
        yield lambda count: progress.advance(task, count)


class Unit(NamedTuple):
    """Rows that are scored before the ranks meet again.

    Attributes:
        rows: Positions in the pairs; none where every missing row is another run's for now.
        left: Rows that were missing when the unit was taken.
    """

    rows: np.ndarray
    left: int


@dataclass
class Filling:
    """Scores missing rows unit by unit, until every row is there.

    Attributes:
        store: Where rows are written; only the first process looks at what others wrote.
        missing: The rows, the same on every process.
        scorer: Scores pairs; every rank runs it equally often.
        batch_tokens: Most tokens of a batch; a row that has more makes a batch alone.
        run: The Trainer's part.
    """

    store: Store
    missing: MissingRows
    scorer: Scorer
    batch_tokens: int
    run: ScoringRun
    _waiting: bool = field(default=False, init=False)

    def __call__(self) -> None:
        """Score, write, and wait for the rows that another run is scoring."""
        if not len(self.missing):
            return
        claims = Claims(self.store.directory) if self.run.is_first else None
        total = len(self.missing)
        try:
            with progress_bar(self.run.progress and self.run.is_first, total) as advance:
                while (unit := self.run.broadcast(self._take(claims) if claims else None)).left:
                    advance(total - unit.left)
                    total = unit.left
                    self._score(unit.rows)
                    self.run.barrier()
                    if claims:
                        self._finish(claims, unit)
                advance(total)
        finally:
            if claims:
                claims.close()

    def _take(self, claims: Claims) -> Unit:
        """Claim whole buckets up to some batches for each rank, then look whether another run has written their rows.

        Buckets are cut by content, so that runs with other rows, or that find other rows missing, exclude each other.
        """
        tokens, enough = 0, self.run.ranks * _BATCHES_PER_UNIT * self.batch_tokens
        taken = [np.empty(0, dtype=int)]
        for bucket, places in self.missing.by_bucket():
            if tokens >= enough:
                break
            if claims.take(bucket):
                taken.append(places)
                tokens += self.missing.tokens(places)
        self._look()
        return Unit(self.missing.still(np.concatenate(taken)), len(self.missing))

    def _finish(self, claims: Claims, unit: Unit) -> None:
        """Give the claims back; where there was nothing to do, another run is at work."""
        self._look()
        claims.give_back()
        if len(unit.rows):
            if len(self.missing) > unit.left - len(unit.rows):
                raise not_to_be_seen(self.store.directory)
            return
        if not self._waiting:
            rank_zero_info(f"reference cache: waiting for {unit.left} rows that another run is scoring")
        self._waiting = True
        time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _look(self) -> None:
        for shard in self.store.scan():
            self.missing.strike(shard.keys)

    def _score(self, rows: np.ndarray) -> None:
        """This rank's batches; where it has fewer than others, it runs one again, since all must take part."""
        batches = cut_batches(rows, self.missing.index.lengths, self.batch_tokens, self.scorer.is_tree)
        mine = batches[self.run.rank :: self.run.ranks]
        rounds = -(-len(batches) // self.run.ranks)
        shard = _OpenShard(self.store.directory, self.missing.index.keys)
        for number in range(rounds):
            is_mine = number < len(mine)
            batch = mine[number] if is_mine else batches[0]
            values = self.scorer([self.missing.pairs[row] for row in batch.tolist()])
            if is_mine and self.run.is_writer:
                shard.add(batch, values)
        shard.close()


class _OpenShard:
    """Rows that are not written yet."""

    def __init__(self, directory: Path, keys: np.ndarray) -> None:
        self._directory = directory
        self._keys = keys
        self._rows: list[int] = []
        self._values: list[np.ndarray] = []
        self._since = time.monotonic()

    def add(self, rows: np.ndarray, values: list[np.ndarray]) -> None:
        """Take the rows of a batch, and write all where the last shard is long ago."""
        self._rows += rows.tolist()
        self._values += values
        if time.monotonic() - self._since >= _SECONDS_BETWEEN_SHARDS:
            self.close()

    def close(self) -> None:
        """Write what there is."""
        if self._rows:
            write_shard(self._directory, self._keys[self._rows], self._values)
        self._rows, self._values, self._since = [], [], time.monotonic()


def cut_batches(rows: np.ndarray, lengths: np.ndarray, batch_tokens: int, is_tree: bool) -> list[np.ndarray]:
    """Rows, the longest first, cut where a batch's tokens would exceed the budget, padding included.

    Args:
        rows: Positions in ``lengths``.
        lengths: Tokens of prompt, chosen and rejected completion, ``[rows, 3]``.
        batch_tokens: The budget.
        is_tree: One packed row, or two padded ones for each pair.
    """
    if not len(rows):
        return []
    prompt, chosen, rejected = lengths[rows].T
    sizes = prompt + chosen + rejected if is_tree else 2 * (prompt + np.maximum(chosen, rejected))
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


def not_to_be_seen(directory: Path) -> RunError:
    """Where processes do not see what others wrote."""
    return RunError(
        f"reference cache {directory}: rows that were just written are not to be seen by every process: set cache_dir "
        "to a file system that all nodes share"
    )


def difference(scorer: Scorer, pairs: Sequence[TokenizedPair], cached: Sequence[np.ndarray]) -> str | None:
    """Score a few cached rows anew; what differs by more than the precision explains, or None."""
    tolerance = scorer.tolerance
    for pair, before, now in zip(pairs, cached, scorer(pairs), strict=True):
        error = np.abs(before - now) - tolerance * (1 + np.abs(now))
        if error.max() > 0:
            token = int(error.argmax())
            return f"token {token} of pair {pair.pair_id} is {before[token]:.4f}, scored anew {now[token]:.4f}"
    return None
