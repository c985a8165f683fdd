"""The config that a fit saves beside what it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.cli import SaveConfigCallback

from dpo_lightning.utils.trainers import run_directory


class SaveFitConfig(SaveConfigCallback):
    """Saves the config of a fit that trains: another command's, or that of a fit that is refused, is none of a run.

    Until the first batch, a run may still be refused, such as where another one saves its checkpoints; the config that
    is there is the other's.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Save nothing yet."""

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save once, where the first logger keeps its files; where it keeps none, in the run's directory."""
        if not self.already_saved and trainer.log_dir is None:
            self.save_to_log_dir = False
            if trainer.is_global_zero:
                path = Path(trainer.default_root_dir, self.config_filename)
                path.parent.mkdir(parents=True, exist_ok=True)
                self.parser.save(self.config, str(path), skip_none=False, overwrite=self.overwrite)
        super().setup(trainer, pl_module, "fit")


def saved_config(trainer: pl.Trainer) -> Path:
    """Return the file in which a fit's config is saved; every rank must call, since they agree on the directory."""
    return run_directory(trainer) / "config.yaml"
