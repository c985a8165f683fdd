"""Results on a benchmark as a picture: a bar for each subset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dpo_lightning.report.curves import figure_class
from dpo_lightning.rounds.benchmark.results import Results
from dpo_lightning.utils.files import replaced


def plot_results(results: Results, path: Path, title: str) -> None:
    """Draw the accuracy of each subset with its interval, and a mark where the longer text always wins.

    Args:
        results: The results.
        path: The PNG file.
        title: A line above it.

    Raises:
        InputError: without matplotlib.
    """
    parts = {**results.subsets, "all rows": results.whole}
    figure = figure_class()(figsize=(8, 1.4 + 0.32 * len(parts)), layout="constrained")
    axes: Any = figure.subplots()
    places = range(len(parts))
    shares = [each.accuracy for each in parts.values()]
    colors = ["C0"] * len(results.subsets) + ["C7"]
    axes.barh(places, [each.share for each in shares], color=colors, alpha=0.75, height=0.7)
    errors = [
        [max(0.0, each.share - each.low) for each in shares],
        [max(0.0, each.high - each.share) for each in shares],
    ]
    axes.errorbar([each.share for each in shares], places, xerr=errors, fmt="none", ecolor="0.2", capsize=2, lw=1)
    axes.plot([each.longer_wins for each in parts.values()], places, "C3|", ms=12, mew=2, label="the longer text wins")
    axes.axvline(0.5, color="0.5", lw=1, ls=":")
    axes.set_yticks(places, [f"{name} ({each.accuracy.of})" for name, each in parts.items()], parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of rows in which the right completion has the greatest score, with 95 % interval")
    figure.legend(loc="outside lower right", frameon=False)
    axes.set_title(title, parse_math=False, wrap=True)
    with replaced(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
