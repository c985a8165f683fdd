"""A picture of curves says of which run they are."""

from __future__ import annotations

import lightning.pytorch as pl

from dpo_lightning.callbacks.run_facts import model_of, objective_of, optimizer_of, title_of
from dpo_lightning.report.logger import PlotLogger
from dpo_lightning.run import PreferenceRun


class StartPoint(pl.Callback):
    """Puts a title on pictures: objective, model and optimizer; `PreferenceModule` adds it.

    The point of step 0, with which curves begin, is logged by the module, see `LogsTraining`.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put it there."""
        for logger in trainer.loggers:
            if isinstance(logger, PlotLogger) and isinstance(pl_module, PreferenceRun):
                parts = {"objective": objective_of(pl_module), "model": model_of(pl_module)}
                logger.title = title_of({**parts, "optimizer": optimizer_of(trainer)})
