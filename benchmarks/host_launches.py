"""The operations on tensors among a step's Python: what a GPU runs behind a launch each, and what they cost here."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Operation(NamedTuple):
    """A call of one of torch's operators, and the part of the step that made it."""

    part: str
    operator: Any
    given: tuple[Any, ...]
    named: dict[str, Any]


class Launches(TorchDispatchMode):
    """Notes each operator that is called within; views are none, for no kernel runs.

    Args:
        part: Says which part of a step is running.
    """

    def __init__(self, part: Callable[[], str]) -> None:
        super().__init__()
        self._part = part
        self.operations: list[Operation] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note the call, and make it."""
        if not func.is_view:
            self.operations.append(Operation(self._part(), func, args, kwargs or {}))
        return func(*args, **(kwargs or {}))


def launches_ms(operations: Sequence[Operation], times: int) -> float:
    """The process time of these operators by themselves in ms, the median: of Python around them nothing is left."""
    found = []
    with torch.no_grad():
        for _ in range(times + 1):
            begun = time.process_time()
            for each in operations:
                each.operator(*each.given, **each.named)
            found.append(time.process_time() - begun)
    return statistics.median(found[1:]) * 1e3
