"""Curves of a run as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dpo_lightning.errors import InputError
from dpo_lightning.utils.files import replaced

History = Mapping[str, Sequence[tuple[int, float]]]

_PANELS = {
    "loss": ("loss",),
    "reward accuracy": ("rewards/accuracies",),
    "rewards": ("rewards/chosen", "rewards/rejected", "rewards/margins"),
    "log-probs (nats)": ("logps/chosen", "logps/rejected"),
}
_STAGES = {"train": {"linestyle": "-", "alpha": 0.8}, "val": {"linestyle": "--", "marker": "o", "markersize": 4}}


def plot_curves(history: History, path: str | Path, title: str = "") -> None:
    """Draw loss, accuracy, rewards and log-probs against the optimizer step, training solid and validation dashed.

    Args:
        history: For each metric, `train/...` or `val/...`, its (step, value) points.
        path: The PNG file.
        title: A line above all of them.

    Raises:
        InputError: without matplotlib.
    """
    figure = figure_class()(figsize=(10, 7), layout="constrained")
    for axes, (panel, names) in zip(figure.subplots(2, 2).flat, _PANELS.items(), strict=True):
        _draw(axes, panel, names, history)
    if title:
        figure.suptitle(title)
    with replaced(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def figure_class() -> type[Any]:
    """Import matplotlib's `Figure`, which only pictures need.

    Raises:
        InputError: without matplotlib, with the command that installs it.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("curves as a picture need matplotlib: run `pip install 'dpo_lightning[plot]'`") from None
    return Figure


def _draw(axes: Any, title: str, names: Sequence[str], history: History) -> None:
    for index, name in enumerate(names):
        for stage, style in _STAGES.items():
            points = history.get(f"{stage}/{name}", ())
            if points:
                label = " ".join([stage, *name.split("/")[1:]])
                axes.plot(*zip(*points, strict=True), label=label, color=f"C{index}", **style)
    axes.set_title(title)
    axes.set_xlabel("optimizer step")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize="small")
