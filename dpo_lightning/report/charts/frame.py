"""The frame of a drawing: axes, grid, marks, legend, and the figure around it."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dpo_lightning.report.charts.scale import Scale
from dpo_lightning.report.markup import plain

WIDTH, HEIGHT = 460.0, 250.0
RIGHT, TOP, BOTTOM = WIDTH - 12, 20.0, HEIGHT - 40
_DIGIT = 7.0  # width of one, in units of the drawing
COLOURS = 8
DASHES = ("", " dashed", " dotted", " dash-dot")
"""Classes of the kinds of lines, the first of which is solid."""


@dataclass(frozen=True)
class Series:
    """Points that belong together.

    Args:
        name: Text of the legend.
        points: Numbers along x and y; a y of None breaks the line.
        colour: Number of the colour, counted from 0; colours come again after the last.
        dash: Number of the kind of line, see `DASHES`; kinds come again after the last.
        dots: Whether each point has a dot.
        line: Whether there is a line.
    """

    name: str
    points: Sequence[tuple[float, float | None]]
    colour: int = 0
    dash: int = 0
    dots: bool = False
    line: bool = True

    @property
    def kind(self) -> str:
        """Classes of the line: its colour and its kind."""
        return f"line s{self.colour % COLOURS}{DASHES[self.dash % len(DASHES)]}"


@dataclass(frozen=True)
class Mark:
    """A place along x that is marked.

    Args:
        at: Where.
        name: What happened there.
        is_hint: Whether a triangle marks it, and not a line.
    """

    at: float
    name: str
    is_hint: bool = False


def left_of(labels: Iterable[tuple[float, str]]) -> float:
    """Return where the axis stands that has such labels."""
    return 14 + _DIGIT * max((len(text) for _, text in labels), default=1)


def axes(x: Scale, y: Scale, x_title: str = "", *, zero: bool = False) -> str:
    """Return grid, labels and title of the axes.

    Args:
        x: Scale of the horizontal axis.
        y: Scale of the vertical axis.
        x_title: Text below the horizontal one.
        zero: Whether a line stands at 0 of each axis where 0 is inside.
    """
    parts = []
    for value, label in y.labels:
        parts.append(f'<path class="grid" d="M{x.start:.1f} {y(value):.1f}H{x.stop:.1f}"/>')
        parts.append(_label(x.start - 6, y(value) + 4, label, "end"))
    for value, label in _apart(x):
        parts.append(_label(x(value), y.start + 16, label, "middle"))
        parts.append(f'<path class="grid" d="M{x(value):.1f} {y.start:.1f}v4"/>')
    parts.append(f'<path class="zero" d="M{x.start:.1f} {y.start:.1f}H{x.stop:.1f}"/>')
    if zero and x.low < 0 < x.high:
        parts.append(f'<path class="zero" d="M{x(0):.1f} {y.start:.1f}V{y.stop:.1f}"/>')
    if zero and y.low < 0 < y.high:
        parts.append(f'<path class="zero" d="M{x.start:.1f} {y(0):.1f}H{x.stop:.1f}"/>')
    if x_title:
        parts.append(_label((x.start + x.stop) / 2, HEIGHT - 6, x_title, "middle"))
    return "".join(parts)


def marks(x: Scale, y: Scale, marked: Sequence[Mark]) -> str:
    """Return the marks along x, each with its name as what a pointer shows."""
    parts = []
    for mark in marked:
        at, title = x(mark.at), f"<title>{plain(mark.name)}</title>"
        if mark.is_hint:
            parts.append(f'<path class="hint" d="M{at - 5:.1f} {y.stop - 9:.1f}h10l-5 9z">{title}</path>')
        else:
            parts.append(f'<path class="mark" d="M{at:.1f} {y.start:.1f}V{y.stop:.1f}">{title}</path>')
    return "".join(parts)


def figure(title: str, drawing: str, series: Sequence[Series] = (), note: str = "", *, areas: bool = False) -> str:
    """Return a drawing with its title, what it shows in words, and the legend beside the curves.

    Args:
        title: Text above it.
        drawing: Parts of the SVG.
        series: What the legend names; one series alone without a name has none.
        note: A text behind the title.
        areas: Whether the legend shows areas, and not lines.
    """
    keys = "".join(f"<li>{_key(each, areas=areas)}{plain(each.name)}</li>" for each in series if each.name)
    legend = f'<ul class="legend">{keys}</ul>' if keys else ""
    caption = f"{plain(title)} <small>{plain(note)}</small>" if note else plain(title)
    return (
        f"<figure><figcaption>{caption}</figcaption>{legend}"
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{plain(title)}">{drawing}</svg></figure>'
    )


def _key(series: Series, *, areas: bool) -> str:
    number = series.colour % COLOURS
    if areas:
        drawn = f'<rect class="area s{number} f{number}" x="1" y="1" width="22" height="8"/>'
    else:
        line = f'<path class="{series.kind}" d="M0 5h24"/>' if series.line else ""
        drawn = line + (f'<circle class="point f{number}" cx="12" cy="5" r="3"/>' if series.dots else "")
    return f'<svg viewBox="0 0 24 10" aria-hidden="true">{drawn}</svg>'


def _apart(x: Scale) -> list[tuple[float, str]]:
    """Return the labels of a horizontal axis that do not run into each other."""
    labels = x.labels
    widest = _DIGIT * max((len(text) for _, text in labels), default=1) + 8
    every = 1
    while len(labels[::every]) > 1 and widest * (len(labels[::every]) - 1) > abs(x.stop - x.start):
        every += 1
    return labels[::every]


def _label(x: float, y: float, content: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(content)}</text>'
