"""A Lightning logger whose file is a picture."""

from __future__ import annotations

from argparse import Namespace
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from dpo_lightning.errors import InputError
from dpo_lightning.report.curves import figure_class, plot_curves
from dpo_lightning.report.history import Point
from dpo_lightning.utils.files import spared
from dpo_lightning.utils.kinds import check_arguments
from dpo_lightning.utils.lines import show_lines

_OTHER_PICTURES = (".svg", ".pdf", ".jpg", ".jpeg", ".gif", ".eps", ".ps", ".webp", ".tif", ".tiff")

show_lines()


class PlotLogger(Logger):
    """Collects what is logged and draws it when the run ends, however it ends.

    Args:
        path: The PNG file.

    Attributes:
        title: Line above the curves: a run of `PreferenceModule` puts objective, model and learning rate there.
        history: For each metric its points, the optimizer steps that were done and the value.

    Raises:
        InputError: for another kind of picture, and without matplotlib, at once and not when the run ends.

    Example:
        >>> from pathlib import Path
        >>> from lightning.pytorch import Trainer
        >>> from dpo_lightning.report import PlotLogger
        >>> logger = PlotLogger("curves.png")
        >>> trainer = Trainer(max_steps=100, logger=logger)
        >>> logger.log_metrics({"train/loss": 0.69}, step=0)  # the Trainer's part, as the two below
        >>> logger.log_metrics({"train/loss": 0.42}, step=1)
        >>> logger.finalize("success")
        >>> Path("curves.png").exists()
        True
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        check_arguments(PlotLogger, locals(), "PlotLogger.")
        if str(path).lower().endswith(_OTHER_PICTURES):
            raise InputError(f"PlotLogger.path: the picture is a PNG, got {path!r}: let its name end in .png")
        figure_class()
        self.path = path
        self.title = ""
        self.history: dict[str, list[tuple[int, float]]] = defaultdict(list)

    @property
    def name(self) -> str:
        """Name of the logger: `curves`."""
        return "curves"

    @property
    def version(self) -> str:
        """Empty: the logger keeps one version."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Drop the hyperparameters: a picture has none."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a point to each curve; Lightning counts steps from 0, the picture those that are done."""
        self._add((step or 0) + 1, metrics)

    @rank_zero_only
    def log_start(self, metrics: Mapping[str, float]) -> None:
        """Begin each curve with the metrics of the weights before the first update."""
        self._add(0, metrics)

    @rank_zero_only
    def begin(self, points: Iterable[Point]) -> None:
        """Begin with the points of the run before its resume, in the place of all that there are."""
        self.history.clear()
        for point in points:
            self._add(point.step, point.values)

    def _add(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self.history[name].append((step, float(value)))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Draw a fit; a validation alone has no curves, and would replace the fit's."""
        if any(name.startswith("train/") for name in self.history):
            with spared(self.path):
                plot_curves(self.history, self.path, self.title)
                rank_zero_info(f"curves in {self.path}")
