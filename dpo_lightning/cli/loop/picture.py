"""The rounds as a picture: score, length of the way, and accuracy, by round."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dpo_lightning.cli.loop.outcome import Outcome
from dpo_lightning.report.curves import figure_class
from dpo_lightning.utils.files import replaced

_PANELS = {
    "score": "mean score of the samples",
    "ended": "share that ended by itself",
    "accuracy": "accuracy on held-out pairs",
    "kl": "KL to the first policy, nats",
}


def draw(found: Sequence[Outcome], path: Path) -> None:
    """Draw a panel for each number that is known, over the rounds, as a PNG file.

    Raises:
        InputError: without matplotlib.
    """
    known = {name: title for name, title in _PANELS.items() if any(getattr(each, name) is not None for each in found)}
    figure = figure_class()(figsize=(3.1 * len(known), 2.9), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, len(known), squeeze=False)[0], known.items(), strict=True):
        points = [(number, getattr(each, name)) for number, each in enumerate(found)]
        numbers, values = zip(*((number, value) for number, value in points if value is not None), strict=True)
        axes.plot(numbers, values, "-o", color="C0", linewidth=1.5, markersize=5)
        axes.set_title(title, fontsize=9)
        axes.set_xticks(range(len(found)), [each.name for each in found], fontsize=8)
        axes.tick_params(axis="y", labelsize=8)
        axes.set_xlim(-0.3, len(found) - 0.7)
        axes.set_xlabel("round", fontsize=8)
        axes.grid(alpha=0.25)
    with replaced(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
