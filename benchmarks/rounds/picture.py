"""The rounds as a picture: true reward against KL divergence from the first policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.rounds.curves import Curve
from benchmarks.rounds.results import Results
from dpo_lightning.lab.reward import BEST_REWARD
from dpo_lightning.utils.files import replaced

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ("0.45", "C0", "C3")


def draw(results: Results, path: Path) -> None:
    """Draw a curve for each arm, with standard errors, and the way of each run through its rounds, as a PNG file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.4), layout="constrained")
    axes = figure.subplots()
    for colour, curve in zip(_COLOURS, results.curves, strict=True):
        _draw_curve(axes, curve, colour)
    start = results.start
    for number, stages in enumerate(results.stages):
        along = [start, *stages]
        axes.plot(
            [point.kl.mean for point in along],
            [point.reward.mean for point in along],
            ":o",
            color=_COLOURS[-1],
            markersize=3,
            linewidth=0.9,
            alpha=0.55,
            zorder=1,
            label=None if number else "round by round, from the first policy",
        )
    axes.plot(start.kl.mean, start.reward.mean, "k*", markersize=13, zorder=4, label="first policy")
    axes.set_xlabel("KL(policy ‖ first policy), nats per completion, from samples of the policy")
    axes.set_ylabel(f"true reward of a sampled completion (at most {BEST_REWARD})")
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", fontsize=9, frameon=False)
    with replaced(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")


def _draw_curve(axes: Axes, curve: Curve, colour: str) -> None:
    """Join an arm's points in the order of beta, each with its beta."""
    points = sorted(curve, key=lambda point: -point.arm.beta)
    kls, rewards = [point.kl.mean for point in points], [point.reward.mean for point in points]
    axes.errorbar(
        kls,
        rewards,
        xerr=[point.kl.error for point in points],
        yerr=[point.reward.error for point in points],
        fmt="-o",
        markersize=5,
        linewidth=1.5,
        elinewidth=0.9,
        capsize=2,
        color=colour,
        zorder=3,
        label=points[0].arm.name,
    )
    for point, x, y in zip(points, kls, rewards, strict=True):
        axes.annotate(
            f"β {point.arm.beta:g}", (x, y), (4, -11), textcoords="offset points", fontsize=7.5, color=colour, zorder=5
        )
