"""A metric against the settings that runs differ in, as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dpo_lightning.report.curves import figure_class
from dpo_lightning.report.progress_line import short
from dpo_lightning.utils.files import replaced

_FEWEST_CELLS = 3  # of each side of a heat map; with fewer, lines show more
_MOST_PANELS = 9
_LOG_FROM = 10  # greatest value over the least from which an axis is logarithmic


class Measured(NamedTuple):
    """Value of a metric where the axes have some values.

    Attributes:
        at: The value of each axis, as it was given.
        mean: The metric.
        error: Its standard error over seeds; None where there is one run.
    """

    at: tuple[str, ...]
    mean: float
    error: float | None


def draw_sweep(points: Sequence[Measured], axes: Sequence[str], metric: str, path: str | Path) -> None:
    """Draw one axis as a line with standard errors, two as lines or, of three numbers each and more, as a heat map.

    More axes make a panel for each of their values, nine at most.

    Args:
        points: The values that there are.
        axes: Names of the axes, one or more.
        metric: Name of the metric.
        path: The PNG file.

    Raises:
        InputError: without matplotlib.
    """
    panels = [*dict.fromkeys(point.at[2:] for point in points)][:_MOST_PANELS]
    columns = math.ceil(math.sqrt(len(panels)))
    rows = math.ceil(len(panels) / columns)
    figure = figure_class()(figsize=(1 + 5 * columns, 0.5 + 4 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flat
    for panel, plot in zip(panels, grid, strict=False):
        own = [point for point in points if point.at[2:] == panel]
        _draw(figure, plot, own, axes, metric)
        plot.set_title(", ".join(f"{name}={value}" for name, value in zip(axes[2:], panel, strict=True)))
    for plot in [*figure.axes][len(panels) : rows * columns]:
        plot.set_visible(False)
    with replaced(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")


def _draw(figure: Any, plot: Any, points: Sequence[Measured], axes: Sequence[str], metric: str) -> None:
    sides = [[*dict.fromkeys(point.at[side] for point in points)] for side in range(min(len(axes), 2))]
    is_grid = len(sides) == 2 and all(len(side) >= _FEWEST_CELLS and numbers(side) for side in sides)
    if is_grid:
        _heat_map(figure, plot, points, [sorted(side, key=float) for side in sides], axes, metric)
        return
    for value in sides[1] if len(sides) == 2 else [None]:
        own = [point for point in points if value is None or point.at[1] == value]
        _line(plot, own, sides[0], None if value is None else f"{axes[1]}={value}")
    plot.set_xlabel(axes[0])
    plot.set_ylabel(metric)
    plot.grid(alpha=0.3)
    if len(sides) == 2:
        plot.legend(fontsize="small")


def _line(plot: Any, points: Sequence[Measured], values: Sequence[str], label: str | None) -> None:
    known = numbers(values)
    if known is None:
        at = {value: float(place) for place, value in enumerate(values)}
        plot.set_xticks([*at.values()], [value[:20] for value in values], rotation=30 if len(values) > 3 else 0)
    else:
        at = dict(zip(values, known, strict=True))
        plot.set_xticks(sorted(known), [value for _, value in sorted(zip(known, values, strict=True))])
        if min(known) > 0 and max(known) / min(known) >= _LOG_FROM:
            plot.set_xscale("log")
            plot.set_xticks(sorted(known), [value for _, value in sorted(zip(known, values, strict=True))])
            plot.minorticks_off()
    points = sorted(points, key=lambda point: at[point.at[0]])
    errors = [point.error or 0.0 for point in points]
    style = "o-" if known is not None else "o"
    x, y = [at[point.at[0]] for point in points], [point.mean for point in points]
    plot.errorbar(x, y, yerr=errors if any(errors) else None, fmt=style, capsize=3, label=label)


def _heat_map(
    figure: Any, plot: Any, points: Sequence[Measured], sides: Sequence[Sequence[str]], axes: Sequence[str], metric: str
) -> None:
    across, up = sides
    known = {point.at[:2]: point.mean for point in points}
    cells = [[known.get((left, below), math.nan) for left in across] for below in up]
    image = plot.imshow(cells, origin="lower", aspect="auto")
    low, high = min(known.values()), max(known.values())
    for row, values in enumerate(cells):
        for column, value in enumerate(values):
            if not math.isnan(value):
                dark = value < (low + high) / 2
                plot.text(column, row, short(value), ha="center", va="center", color="white" if dark else "black")
    plot.set_xticks(range(len(across)), across)
    plot.set_yticks(range(len(up)), up)
    plot.set_xlabel(axes[0])
    plot.set_ylabel(axes[1])
    figure.colorbar(image, ax=plot, label=metric)


def numbers(values: Sequence[str]) -> list[float] | None:
    """Return values as finite numbers; None where one of them is none."""
    try:
        found = [float(value) for value in values]
    except ValueError:
        return None
    return found if all(map(math.isfinite, found)) else None
