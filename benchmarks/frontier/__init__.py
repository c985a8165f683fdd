"""The frontier: true reward against KL from the reference, for every objective of the catalogue."""

from benchmarks.frontier.experiment import Experiment, entries_named
from benchmarks.frontier.page import write_page
from benchmarks.frontier.picture import draw
from benchmarks.frontier.protocol import Protocol, Task, prepare_world
from benchmarks.frontier.store import RunStore
from benchmarks.frontier.table import HEADER, Frontier
from benchmarks.frontier.workers import work

__all__ = [
    "HEADER",
    "Experiment",
    "Frontier",
    "Protocol",
    "RunStore",
    "Task",
    "draw",
    "entries_named",
    "prepare_world",
    "work",
    "write_page",
]
