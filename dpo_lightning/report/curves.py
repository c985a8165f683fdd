"""Curves of a run as a picture."""

from __future__ import annotations

import math
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
    "log-ratios to the reference (nats)": ("logratios/chosen", "logratios/rejected"),
    "log-probs (nats)": ("logps/chosen", "logps/rejected"),
}
"""Metrics of each panel; the one that comes last is drawn where there is no reference."""

_COLORS = {"chosen": "C0", "rejected": "C3", "margins": "C2"}
_STAGES = {"train": {"linestyle": "-", "alpha": 0.85}, "val": {"linestyle": "--", "marker": "o", "markersize": 4}}
_FEW = 12  # points of a curve that are marked each: a line of two or three does not show where they are


def plot_curves(history: History, path: str | Path, title: str = "") -> None:
    """Draw loss, accuracy, rewards and log-ratios against the optimizer step, training solid and validation dashed.

    A run without a reference has log-probs in the place of log-ratios. Legends stand beside the curves. Step 0 is the
    state before any update.

    Args:
        history: For each metric, `train/...` or `val/...`, its (step, value) points; what is not finite is left out.
        path: The PNG file.
        title: A line above all of them.

    Raises:
        InputError: without matplotlib.
    """
    figure = figure_class()(figsize=(12, 7), layout="constrained")
    panels = dict(_PANELS)
    del panels["log-probs (nats)" if _has(history, "logratios") else "log-ratios to the reference (nats)"]
    for axes, (panel, names) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        _draw(axes, panel, names, history)
    if title:
        figure.suptitle(title, wrap=True)
    with replaced(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")


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


def _has(history: History, kind: str) -> bool:
    return any(name.split("/")[1:2] == [kind] for name, points in history.items() if points)


def _draw(axes: Any, title: str, names: Sequence[str], history: History) -> None:
    from matplotlib.ticker import MaxNLocator

    for name in names:
        kind = name.partition("/")[2]
        for stage, style in _STAGES.items():
            points = [point for point in history.get(f"{stage}/{name}", ()) if math.isfinite(point[1])]
            if points:
                marks = {"marker": "."} if stage == "train" and len(points) <= _FEW else {}
                label = f"{kind} ({stage})" if len(names) > 1 else stage
                axes.plot(*zip(*points, strict=True), label=label, color=_COLORS.get(kind, "C0"), **marks, **style)
    axes.set_title(title)
    axes.set_xlabel("optimizer step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
    else:
        axes.text(0.5, 0.5, "nothing was logged", transform=axes.transAxes, ha="center", va="center", alpha=0.6)
