"""Charts: lines, histograms, clouds of dots, calibration, and intervals inside a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from dpo_lightning.report.charts.frame import (
    BOTTOM,
    COLOURS,
    RIGHT,
    TOP,
    Mark,
    Series,
    axes,
    figure,
    left_of,
    marks,
)
from dpo_lightning.report.charts.scale import Scale, spanning
from dpo_lightning.report.markup import plain
from dpo_lightning.report.statistics import Interval, bins_of, spread

_MOST_POINTS = 600  # of a line; more than a screen has columns
_MOST_DOTS = 1500


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x_title: str = "optimizer step",
    marked: Sequence[Mark] = (),
    note: str = "",
) -> str:
    """Return lines over x, which counts something; points without a number break them.

    An axis of numbers above 0 of several orders of magnitude is logarithmic, and the note says so.
    """
    drawn = [replace(each, points=thinned(each.points)) for each in series]
    points = [(x, y) for each in drawn for x, y in each.points if y is not None]
    y = spanning((value for _, value in points), BOTTOM, TOP, logarithmic=None)
    x = spanning((at for at, _ in points), left_of(y.labels), RIGHT, room=0.01, whole=True)
    if y.logarithmic:
        note = f"{note}, logarithmic" if note else "logarithmic"
    parts = [axes(x, y, x_title, zero=True), *(_line(x, y, each) for each in drawn)]
    return figure(title, "".join([*parts, marks(x, y, marked)]), series, note)


def histogram(title: str, series: Sequence[Series], *, x_title: str, note: str = "") -> str:
    """Return histograms over each other, of the x of each series' points; the outer bins hold what lies beyond.

    The heights are shares of each series.
    """
    values = [[x for x, _ in each.points] for each in series]
    low, high = spread([each for part in values for each in part])
    shares = [bins_of(part, low, high, 30) for part in values]
    y = spanning([0.0, *(share for part in shares for share in part)], BOTTOM, TOP, room=0.0)
    percent = [(value, f"{100 * value:g}%") for value in y.ticks]
    x = Scale(low, high, left_of(percent), RIGHT)
    parts = [axes(x, Scale(100 * y.low, 100 * y.high, BOTTOM, TOP), x_title, zero=True)]
    for each, part in zip(series, shares, strict=True):
        number = each.colour % COLOURS
        width = (x.stop - x.start) / len(part)
        steps = "".join(f"V{y(share):.1f}h{width:.2f}" for share in part)
        parts.append(f'<path class="area s{number} f{number}" d="M{x.start:.1f} {BOTTOM}{steps}V{BOTTOM}z"/>')
    return figure(title, "".join(parts), series, note or "per cent", areas=True)


def dots_chart(
    title: str, series: Sequence[Series], lines: Sequence[Series] = (), *, x_title: str, note: str = ""
) -> str:
    """Return a dot for each point, and lines through them; of many points, evenly spaced ones are drawn."""
    clouds = [[(x, y) for x, y in each.points if y is not None] for each in series]
    drawn = [cloud[:: max(1, math.ceil(len(cloud) / _MOST_DOTS))] for cloud in clouds]
    y = spanning((value for cloud in drawn for _, value in cloud), BOTTOM, TOP)
    x = spanning((at for cloud in drawn for at, _ in cloud), left_of(y.labels), RIGHT, room=0.03)
    parts = [axes(x, y, x_title, zero=True)]
    for each, cloud in zip(series, drawn, strict=True):
        dots = "".join(f'<circle cx="{x(at):.1f}" cy="{y(value):.1f}" r="2.4"/>' for at, value in cloud)
        parts.append(f'<g class="dot f{each.colour % COLOURS}">{dots}</g>')
    parts += [_line(x, y, each) for each in lines]
    keys = [replace(each, dots=True, line=False) for each in series]
    return figure(title, "".join(parts), [*keys, *lines], note)


def named_dots(title: str, points: Sequence[tuple[str, float, float]], *, x_title: str, note: str = "") -> str:
    """Return a chart of a few points, each with a number that the legend explains.

    Args:
        title: Text above it.
        points: Name, x and y of each.
        x_title: Text below the horizontal axis.
        note: A text behind the title.
    """
    y = spanning((value for *_, value in points), BOTTOM, TOP, room=0.12)
    x = spanning((at for _, at, _ in points), left_of(y.labels), RIGHT, room=0.1)
    parts = [axes(x, y, x_title)]
    for number, (name, at, value) in enumerate(points):
        parts.append(
            f'<circle class="point f{number % COLOURS}" cx="{x(at):.1f}" cy="{y(value):.1f}" r="5">'
            f"<title>{plain(name)}</title></circle>"
            f'<text class="label" x="{x(at) + 8:.1f}" y="{y(value) - 6:.1f}">{number + 1}</text>'
        )
    legend = [
        Series(f"{number + 1} {name}", (), number, dots=True, line=False) for number, (name, *_) in enumerate(points)
    ]
    return figure(title, "".join(parts), legend, note)


def calibration(title: str, points: Sequence[tuple[float, Interval]], *, note: str = "") -> str:
    """Return observed shares with their intervals over the shares that were predicted, which the diagonal equals.

    Args:
        title: Text above it.
        points: Mean prediction of each bin, from 0.5 to 1, and what was observed.
        note: A text behind the title.
    """
    lowest = min([0.5, *(seen.low for _, seen in points)])
    y = Scale(math.floor(lowest * 10) / 10, 1.0, BOTTOM, TOP)
    x = Scale(0.5, 1.0, left_of(y.labels), RIGHT)
    parts = [axes(x, y, "predicted"), f'<path class="ideal" d="M{x(0.5):.1f} {y(0.5):.1f}L{x(1):.1f} {y(1):.1f}"/>']
    for at, seen in points:
        name = f"<title>{seen.said}, predicted {100 * at:.0f} %</title>"
        parts.append(f'<path class="line s0" d="M{x(at):.1f} {y(seen.low):.1f}V{y(seen.high):.1f}"/>')
        parts.append(f'<circle class="point f0" cx="{x(at):.1f}" cy="{y(seen.share):.1f}" r="4">{name}</circle>')
    line = Series("observed, with its 95 % interval", (), 0, dots=True)
    return figure(title, "".join(parts), [line], note)


def interval_bar(seen: Interval) -> str:
    """Return an interval of shares between 0 and 1 as a drawing for a cell of a table, with a line at a half."""
    return (
        '<svg class="forest" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<path class="grid" d="M0 5H100M0 1v8M100 1v8"/><path class="zero" d="M50 0v10"/>'
        f'<path class="line s0" d="M{100 * seen.low:.1f} 5H{100 * seen.high:.1f}"/>'
        f'<rect class="point f0" x="{100 * seen.share - 1:.1f}" y="1" width="2" height="8"/></svg>'
    )


def thinned(points: Sequence[tuple[float, float | None]]) -> list[tuple[float, float | None]]:
    """Return a line with no more points than can be seen: of each stretch its least and its greatest one, in order."""
    if len(points) <= _MOST_POINTS:
        return [*points]
    size = math.ceil(2 * len(points) / _MOST_POINTS)
    kept: list[tuple[float, float | None]] = [points[0]]
    for start in range(1, len(points) - 1, size):
        part = points[start : min(start + size, len(points) - 1)]
        known = [(value, place) for place, (_, value) in enumerate(part) if value is not None]
        places = {min(known)[1], max(known)[1]} if known else set()
        if len(known) < len(part):  # a break stays one
            places.add(next(place for place, (_, value) in enumerate(part) if value is None))
        kept += [part[place] for place in sorted(places)]
    return [*kept, points[-1]]


def _line(x: Scale, y: Scale, series: Series) -> str:
    number = series.colour % COLOURS
    parts, dots = [], []
    for known, run in groupby(series.points, key=lambda point: point[1] is not None):
        places = [(x(at), y(value)) for at, value in run if value is not None]
        if known:
            parts.append("M" + "L".join(f"{at:.1f} {value:.1f}" for at, value in places))
            dots += places if series.dots or len(places) == 1 else []
    line = f'<path class="{series.kind}" d="{"".join(parts)}"/>' if parts else ""
    few = dots if len(dots) <= 60 else []
    return line + "".join(f'<circle class="point f{number}" cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in few)
