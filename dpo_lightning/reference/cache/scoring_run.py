"""The Trainer's part in scoring."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Pace:
    """Intervals at which scoring writes, meets and looks.

    Attributes:
        seconds_between_shards: A kill costs at most what is scored between two shards.
        batches_between_meetings: Batches of each rank, after which it writes a shard and the ranks meet.
        seconds_between_looks: Pause while another run is scoring.
    """

    seconds_between_shards: float = 10.0
    batches_between_meetings: int = 8
    seconds_between_looks: float = 0.5


@dataclass
class ScoringRun:
    """Facts of the Trainer that scoring needs; the defaults are those of one process without one.

    Attributes:
        precision: Lightning's name of the precision.
        rank: Data-parallel rank.
        ranks: Number of data-parallel ranks.
        is_first: Whether this process decides and reports.
        is_writer: Whether it writes its rank's rows: one of the processes that share a rank under tensor parallelism.
        broadcast: Returns the first process's object on every process.
        barrier: Waits for every process.
        context: Makes the context in which a step's forward runs: autocast, or nothing.
        progress: Whether to show a progress bar.
        pace: How often it writes, meets and looks.
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
    pace: Pace = field(default_factory=Pace)

    @contextmanager
    def bar(self, text: str, rows: int) -> Iterator[Callable[[int], Any]]:
        """Yield a function that moves a bar by a number of rows; the first process shows it, where one is wanted."""
        if not (self.progress and self.is_first):
            yield lambda count: None
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(*columns) as progress:
            task = progress.add_task(text, total=rows)
            yield lambda count: progress.advance(task, count)
