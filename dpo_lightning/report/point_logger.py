"""A Lightning logger that hands on what is logged."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from lightning.pytorch.loggers.logger import DummyExperiment, Logger
from lightning.pytorch.utilities import rank_zero_only


@runtime_checkable
class LogsStart(Protocol):
    """A logger that has a place for the state before any update."""

    def log_start(self, metrics: Mapping[str, float]) -> None:
        """Take the metrics of the weights before the first update."""


class PointLogger(Logger):
    """Hands each log event to a function, with the number of optimizer steps that are done; on rank 0 alone.

    Args:
        take: Function of step and values.
    """

    def __init__(self, take: Callable[[int, Mapping[str, float]], None]) -> None:
        super().__init__()
        self._take = take
        self._experiment = DummyExperiment()

    @property
    def name(self) -> str:
        """Name of the logger: `record`."""
        return "record"

    @property
    def version(self) -> str:
        """Empty: the logger keeps one version."""
        return ""

    @property
    def experiment(self) -> Any:
        """Something that takes any call and does nothing, for who walks over all loggers' experiments."""
        return self._experiment

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Drop the hyperparameters: they are no points."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Hand the values on; Lightning counts steps from 0."""
        self._take((step or 0) + 1, {name: float(value) for name, value in metrics.items()})

    @rank_zero_only
    def log_start(self, metrics: Mapping[str, float]) -> None:
        """Hand the values on as those of step 0."""
        self._take(0, {name: float(value) for name, value in metrics.items()})
