"""Curves begin before the first update, and a picture of them says of which run they are."""

from __future__ import annotations

from collections.abc import Mapping

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers.logger import DummyLogger, Logger
from torch.optim import Optimizer

from dpo_lightning.callbacks.run_facts import model_of, objective_of, optimizer_of, title_of
from dpo_lightning.compat.lightning_loops import logs_this_step
from dpo_lightning.report.logger import PlotLogger
from dpo_lightning.report.point_logger import LogsStart
from dpo_lightning.run import PreferenceRun
from dpo_lightning.training.logging import LogsTraining, means_of


class StartPoint(pl.Callback):
    """Logs the metrics of the first optimizer step as those of step 0; `PreferenceModule` adds it.

    They are of the weights before any update, so that no further pass is needed: with a loss of ln 2 for DPO, curves
    begin where they must. Loggers that count steps from 0 have that row anyway where each step is logged. It costs one
    reduction over ranks, once.
    """

    def __init__(self) -> None:
        self._done = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put a title on pictures; a run that goes on has its first point already."""
        self._done = trainer.global_step > 0
        for logger in trainer.loggers:
            if isinstance(logger, PlotLogger) and isinstance(pl_module, PreferenceRun):
                parts = {"objective": objective_of(pl_module), "model": model_of(pl_module)}
                logger.title = title_of({**parts, "optimizer": optimizer_of(trainer)})

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Log the means of the first step's micro-batches, before they are logged, or go on adding up."""
        if self._done or not trainer.log_every_n_steps or not isinstance(pl_module, LogsTraining):  # type: ignore[attr-defined]
            return
        self._done = True
        due = logs_this_step(trainer)
        loggers = [each for each in trainer.loggers if not isinstance(each, DummyLogger)]
        loggers = [each for each in loggers if isinstance(each, LogsStart) or not due]
        means = means_of(pl_module.train_metrics)  # on every rank: rank 0 alone may have loggers
        if not means or not loggers:
            return
        values = torch.stack([mean.float() for mean in means.values()]).tolist()
        named = {f"train/{name}": value for name, value in zip(means, values, strict=True)}
        for logger in loggers:
            _log(logger, {**named, "epoch": trainer.current_epoch})


def _log(logger: Logger, values: Mapping[str, float]) -> None:
    if isinstance(logger, LogsStart):
        logger.log_start(values)
    else:
        logger.log_metrics({**values}, step=0)
    logger.save()
