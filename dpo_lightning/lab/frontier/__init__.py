"""The frontier: true reward against KL from the reference, for every objective of the catalogue."""

from dpo_lightning.lab.frontier.experiment import Experiment, entries_named
from dpo_lightning.lab.frontier.page import write_page
from dpo_lightning.lab.frontier.picture import draw
from dpo_lightning.lab.frontier.protocol import Protocol, Task, prepare_world
from dpo_lightning.lab.frontier.store import RunStore
from dpo_lightning.lab.frontier.table import HEADER, Frontier
from dpo_lightning.lab.frontier.workers import work

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
