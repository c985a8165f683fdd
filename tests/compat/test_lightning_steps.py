"""Lightning's loops have the counters that its loggers are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
from lightning.pytorch.loggers import CSVLogger

from dpo_lightning.compat.lightning_steps import epochs_begun, logged_step
from tests.helpers.runs import data, module, trainer


class Looks(pl.Callback):
    """Keeps how far the run is, and the step of its end."""

    def __init__(self) -> None:
        self.epochs: list[Any] = []

    def on_before_optimizer_step(self, trainer: pl.Trainer, *_: Any) -> None:
        self.epochs.append(epochs_begun(trainer))

    def on_train_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.step = logged_step(trainer)


@pytest.mark.parametrize("accumulated", [1, 2])
def test_the_last_step_is_the_one_that_lightning_logs(tmp_path: Path, accumulated: int) -> None:
    looks, logger = Looks(), CSVLogger(str(tmp_path))
    run = trainer(max_steps=4, callbacks=[looks], logger=logger, accumulate_grad_batches=accumulated)
    run.fit(module(), data(tmp_path))

    steps = [int(row.split(",")[1]) for row in Path(logger.log_dir, "metrics.csv").read_text().splitlines()[1:]]
    assert max(steps) == looks.step == 3
    assert looks.epochs == pytest.approx([n * accumulated / 6 for n in (1, 2, 3, 4)])
