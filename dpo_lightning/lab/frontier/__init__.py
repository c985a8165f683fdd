"""The frontier: true reward against KL from the reference, for every objective of the catalogue."""

from dpo_lightning.lab.frontier.page import write_page
from dpo_lightning.lab.frontier.picture import draw
from dpo_lightning.lab.frontier.points import Point, points
from dpo_lightning.lab.frontier.protocol import Protocol, Run, Task, prepare_world, run_task
from dpo_lightning.lab.frontier.store import RunStore
from dpo_lightning.lab.frontier.table import HEADER, Frontier
from dpo_lightning.lab.frontier.workers import work

__all__ = [
    "HEADER",
    "Frontier",
    "Point",
    "Protocol",
    "Run",
    "RunStore",
    "Task",
    "draw",
    "points",
    "prepare_world",
    "run_task",
    "work",
    "write_page",
]
