"""The frontier as a picture: true reward against KL divergence from the reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.frontier.catalogue import FAMILIES
from benchmarks.frontier.labels import place_labels
from benchmarks.frontier.points import Point
from benchmarks.frontier.table import Frontier
from dpo_lightning.lab.reward import BEST_REWARD
from dpo_lightning.utils.files import replaced

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = dict(zip(FAMILIES, (*(f"C{n}" for n in range(10)), "black"), strict=True))
_CURVES = ("-", "--", "-.", ":")


def draw(frontier: Frontier, path: Path) -> None:
    """Draw a numbered point for each entry, with standard errors, and a curve for each sweep, as a PNG file."""
    from matplotlib.figure import Figure

    start, entries, sweeps, _ = frontier
    figure = Figure(figsize=(14, 11.5), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("function", functions=(_root, _square))
    for style, (name, curve) in zip(_CURVES, sweeps.items(), strict=False):
        _draw_curve(axes, name, curve, style)
    axes.plot(start.kl.mean, start.reward.mean, "k*", markersize=14, zorder=4, label="starting policy (SFT)")
    axes.axhline(start.reward.mean, color="0.6", linewidth=0.8, linestyle=":", zorder=0)
    for number, point in enumerate(entries, 1):
        _draw_point(axes, number, point)
    axes.set_xlabel(
        "KL(policy ‖ reference), nats per completion, from samples of the policy; the axis is a square root"
    )
    axes.set_ylabel(f"true reward of a sampled completion (at most {BEST_REWARD})")
    axes.set_xlim(left=-1e-3)
    axes.grid(alpha=0.25)
    figure.legend(*_by_family(axes, entries), loc="outside right upper", fontsize=8, frameon=False, labelspacing=0.3)
    # Only now is it known where a point lies on the page.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    place_labels(axes, {str(number): (p.kl.mean, p.reward.mean) for number, p in enumerate(entries, 1)})
    with replaced(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")


def _draw_curve(axes: Axes, name: str, curve: Sequence[Point], style: str) -> None:
    """Join points in the order of the setting."""
    kls, rewards = [point.kl.mean for point in curve], [point.reward.mean for point in curve]
    label = f"{name}, sweep"
    colour = _COLOURS[curve[0].entry.family]
    axes.plot(kls, rewards, style, color=colour, linewidth=1, alpha=0.6, zorder=1, label=label)


def _draw_point(axes: Axes, number: int, point: Point) -> None:
    axes.errorbar(
        point.kl.mean,
        point.reward.mean,
        xerr=point.kl.error,
        yerr=point.reward.error,
        fmt=".",
        markersize=7,
        elinewidth=0.8,
        color=_COLOURS[point.entry.family],
        zorder=3,
        label=_label(number, point),
    )


def _by_family(axes: Axes, entries: Sequence[Point]) -> tuple[list[Any], list[str]]:
    """Return handles and texts of the legend: what is no entry, then each family under its name."""
    from matplotlib.lines import Line2D

    drawn = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    numbered: dict[str, list[str]] = {}
    for number, point in enumerate(entries, 1):
        numbered.setdefault(point.entry.family, []).append(_label(number, point))
    others = drawn.keys() - {label for labels in numbered.values() for label in labels}
    legend = [(drawn[label], label) for label in drawn if label in others]
    for family, labels in numbered.items():
        legend.append((Line2D([], [], linestyle="none"), f"$\\bf{{{family.replace(' ', '~')}}}$"))
        legend += [(drawn[label], label) for label in labels]
    return [handle for handle, _ in legend], [text for _, text in legend]


def _label(number: int, point: Point) -> str:
    return f"{number} {point.name}"


def _root(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.sqrt(np.abs(values))


def _square(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.square(values)
