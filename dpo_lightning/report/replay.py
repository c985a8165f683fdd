"""Points of a run before its resume, given to the loggers that keep curves in files of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lightning.pytorch.loggers import CSVLogger, Logger

from dpo_lightning.report.history import Point
from dpo_lightning.report.logger import PlotLogger


def replay(points: Sequence[Point], loggers: Iterable[Logger]) -> None:
    """Let `CSVLogger` and `PlotLogger` begin with earlier points, so that each holds the whole run.

    Others, as TensorBoard, W&B and MLflow, have the earlier points in a store of their own.

    Args:
        points: Points up to the checkpoint, in the order of logging.
        loggers: Those of the run.
    """
    for logger in loggers:
        if isinstance(logger, PlotLogger):
            logger.begin(points)
        elif isinstance(logger, CSVLogger) and not logger.experiment.metrics_keys:  # it has logged nothing yet
            for point in _without_repeat(points):
                whole = {name: int(value) for name, value in point.values.items() if name == "epoch"}
                logger.log_metrics({**point.values, **whole}, max(point.step - 1, 0))
            logger.save()


def _without_repeat(points: Sequence[Point]) -> Iterable[Point]:
    """Leave the first step's point out of a table of steps from 0, where the row of that step is the same."""
    first = {name for point in points if point.step == 1 for name in point.values}
    return (point for point in points if point.step or not first & point.values.keys())
