"""Curves of a run as points in the order in which they were logged, and their compact form in a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

MOST_POINTS = 4096
"""Most points that are kept of a run: of 20 values each, 0.8 MiB of a checkpoint."""


class Point(NamedTuple):
    """Values that were logged together.

    Attributes:
        step: Optimizer steps that were done; 0 is the state before any update.
        seconds: Time since the run began, without the time between a stop and its resume.
        values: The values by name.
    """

    step: int
    seconds: float
    values: Mapping[str, float]

    def row(self) -> dict[str, Any]:
        """Return the point as a line of `metrics.jsonl`."""
        return {"step": self.step, "seconds": round(self.seconds, 3), **self.values}

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Point:
        """Return the point of such a line; what JSON has no number for is NaN."""
        values = {name: math.nan if value is None else float(value) for name, value in row.items()}
        step, seconds = int(values.pop("step")), values.pop("seconds", 0.0)
        return cls(step, seconds, values)


class History:
    """Points of a run: of a long one some, in even steps, so that a checkpoint of it stays small.

    The newest ones are always there, and all of a kind of log of which there are few, such as validations.

    Args:
        points: Those that there are.

    Example:
        >>> history = History()
        >>> history.add(Point(10, 1.5, {"train/loss": 0.5}))
        True
        >>> history.add(Point(10, 9.5, {"train/loss": 0.5}))  # logged once more, by a run that went on
        False
        >>> History.of(history.packed()).points[0].values
        {'train/loss': 0.5}
    """

    def __init__(self, points: Iterable[Point] = ()) -> None:
        self.points = list(points)
        self._thin()

    def add(self, point: Point) -> bool:
        """Add a point; return false where it is there already."""
        for each in reversed(self.points):
            if each.step < point.step:
                break
            if each.step == point.step and _holds(each.values, point.values):
                return False
        self.points.append(point)
        self._thin()
        return True

    def _thin(self) -> None:
        """Leave half as many points as may be, those of each kind in even steps; of rare kinds all."""
        if len(self.points) <= MOST_POINTS:
            return
        kinds: dict[tuple[str, ...], list[int]] = {}
        for place, point in enumerate(self.points):
            kinds.setdefault(tuple(point.values), []).append(place)
        kept: set[int] = set()
        for number, places in enumerate(sorted(kinds.values(), key=len)):
            share = (MOST_POINTS // 2 - len(kept)) // (len(kinds) - number)
            kept.update(places if len(places) <= share else self._spread(places, share))
        self.points = [point for place, point in enumerate(self.points) if place in kept]

    def _spread(self, places: Sequence[int], count: int) -> Iterator[int]:
        """Yield at most so many of the places, evenly by step, with the last one."""
        first, last = (self.points[place].step for place in (places[0], places[-1]))
        due, apart = float(first), (last - first) / max(count - 1, 1)
        for place in places[:-1] if count > 1 else ():
            if self.points[place].step >= due:
                yield place
                due = max(due + apart, self.points[place].step + apart / 2)
        if count:
            yield places[-1]

    def packed(self) -> list[dict[str, Any]]:
        """Return the points in types that a checkpoint holds: for each set of names a table of float64."""
        tables: dict[tuple[str, ...], list[list[float]]] = {}
        for number, point in enumerate(self.points):
            row = [number, point.step, point.seconds, *point.values.values()]
            tables.setdefault(tuple(point.values), []).append(row)
        return [
            {"names": list(names), "rows": torch.tensor(rows, dtype=torch.float64, device="cpu")}
            for names, rows in tables.items()
        ]

    @classmethod
    def of(cls, packed: Any) -> History:
        """Return the points of such tables; none of what is no such thing, as another version may have written."""
        try:
            numbered = [
                (row[0], Point(int(row[1]), row[2], dict(zip(table["names"], row[3:], strict=True))))
                for table in packed
                for row in table["rows"].tolist()
            ]
        except (TypeError, KeyError, ValueError, AttributeError, IndexError):
            return cls()
        return cls(point for _, point in sorted(numbered, key=lambda each: each[0]))


def _holds(values: Mapping[str, float], others: Mapping[str, float]) -> bool:
    return all(name in values and _same(values[name], value) for name, value in others.items())


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))
