"""How far a run is, as one line of a terminal or of a log file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

_MOST_CELLS = 30  # of the bar
_FEWEST_CELLS = 6
_GAP = "  "


class Progress(NamedTuple):
    """Position of a run, with its last values.

    Attributes:
        what: Word for the loop: `step`, `validation`, `test`, `prediction`; `check` of a validation before the run.
        done: Steps or batches that are done.
        total: All of them; None where nobody knows.
        epoch: Number of the epoch, from 1, and of all epochs; empty where it says nothing.
        values: Last values by name.
        elapsed: Seconds since the loop began.
        left: Seconds until it ends; None where nobody knows.
    """

    what: str
    done: int
    total: int | None
    epoch: str
    values: Mapping[str, float]
    elapsed: float
    left: float | None

    @property
    def head(self) -> str:
        """Position in words, such as `step 12/400`."""
        return f"{self.what} {self.done}" + ("" if self.total is None else f"/{self.total}")


def plain_line(progress: Progress) -> str:
    """Return all that is known, for a file."""
    values = [f"{name} {short(value)}" for name, value in progress.values.items()]
    times = [clock(progress.elapsed)] + ([] if progress.left is None else [f"{clock(progress.left)} left"])
    return _GAP.join(filter(None, [progress.head, progress.epoch, *values, *times]))


def fitted_line(progress: Progress, width: int, cells: str = "━─") -> str:
    """Return what fits one line of a terminal.

    The position and the times come first, then the values from the first one on, the epoch, and a bar in what is left.

    Args:
        progress: Position of the run.
        width: Columns of the terminal; the line is never longer.
        cells: Characters of the bar, for what is done and what is not.
    """
    left = "" if progress.left is None else f"<{clock(progress.left)}"
    head, times = progress.head, f"{clock(progress.elapsed)}{left}"
    values: list[str] = []
    for name, value in progress.values.items():
        if len(_GAP.join([head, *values, f"{name} {short(value)}", times])) > width:
            break
        values.append(f"{name} {short(value)}")
    line = [head, *values, times]
    if progress.epoch and len(_GAP.join([*line, progress.epoch])) <= width:
        line.insert(1, progress.epoch)
    room = min(_MOST_CELLS, width - len(_GAP.join(line)) - len(_GAP))
    if progress.total and room >= _FEWEST_CELLS:
        full = min(room, room * progress.done // progress.total)
        line.insert(1, cells[0] * full + cells[1] * (room - full))
    return _GAP.join(line)[:width]


def clock(seconds: float) -> str:
    """Return seconds as `m:ss`, from an hour on as `h:mm:ss`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def short(value: float) -> str:
    """Return a value in four digits at most, as `0.6931`, `12.3` or `5e-07`."""
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    return f"{value:.3g}" if abs(value) < 0.01 or abs(value) >= 1e5 else f"{value:.4g}"
