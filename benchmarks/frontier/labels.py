"""Labels beside crowded points, none over another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FONT = 8.5
_DISTANCES = (8, 12, 17, 23, 30, 38, 47, 57, 70, 85, 100)
_DIRECTIONS = 24
_GAP = 3.5  # around a point


class Box(NamedTuple):
    """A rectangle on the page, in printer's points."""

    left: float
    bottom: float
    right: float
    top: float

    @classmethod
    def around(cls, x: float, y: float, width: float, height: float) -> Box:
        """Make the rectangle with that centre."""
        return cls(x - width / 2, y - height / 2, x + width / 2, y + height / 2)

    def overlaps(self, other: Box) -> bool:
        """Say whether the two share a part of the page."""
        return (
            self.left < other.right and other.left < self.right and self.bottom < other.top and other.bottom < self.top
        )


def place_labels(axes: Axes, points: Mapping[str, tuple[float, float]]) -> list[Box]:
    """Write a label near each point, with a line to it where it is not right beside it.

    Each takes the nearest place that is free of points and of the labels before it; the crowded ones come last, since
    they go outwards anyway.

    Args:
        axes: Drawn already, so that its transform is final.
        points: Labels, and where their points lie, in data coordinates.

    Returns:
        Where the labels are.
    """
    figure = axes.get_figure()
    assert figure is not None
    scale = 72 / figure.dpi
    on_page = {label: tuple(scale * axes.transData.transform(point)) for label, point in points.items()}
    taken = [Box.around(x, y, 2 * _GAP, 2 * _GAP) for x, y in on_page.values()]
    labels = []
    for label, (x, y) in on_page.items():
        distance, angle, box = _free_place(label, x, y, taken)
        labels.append(box)
        taken.append(box)
        axes.annotate(
            label,
            points[label],
            (distance * math.cos(angle), distance * math.sin(angle)),
            textcoords="offset points",
            fontsize=_FONT,
            ha="center",
            va="center",
            zorder=5,
            arrowprops=None
            if distance == _DISTANCES[0]
            else {"arrowstyle": "-", "linewidth": 0.5, "color": "0.4", "shrinkA": 0, "shrinkB": 2},
        )
    return labels


def _free_place(label: str, x: float, y: float, taken: list[Box]) -> tuple[float, float, Box]:
    """Find distance and direction from the point; the last place where none is free."""
    for distance, angle in _places():
        x_label, y_label = x + distance * math.cos(angle), y + distance * math.sin(angle)
        box = Box.around(x_label, y_label, _FONT * (0.66 * len(label) + 0.4), 1.2 * _FONT)
        if not any(box.overlaps(other) for other in taken):
            break
    return distance, angle, box


def _places() -> Iterator[tuple[float, float]]:
    for distance in _DISTANCES:
        for step in range(_DIRECTIONS):
            yield distance, math.pi / 2 - 2 * math.pi * step / _DIRECTIONS
