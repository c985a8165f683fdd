"""A fit with one thing plugged in, so that a feature's test is a few lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import pytest

from dpo_lightning import PreferenceModule
from tests.helpers import runs


class Fitted(NamedTuple):
    """What a fit leaves: its Trainer, its module, and the loss of each micro-batch."""

    trainer: pl.Trainer
    module: PreferenceModule
    losses: list[float]

    @property
    def metrics(self) -> dict[str, float]:
        """The values that callbacks see."""
        return {name: float(value) for name, value in self.trainer.callback_metrics.items()}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Fitted]:
    """A fit of two epochs with validation: `run(*callbacks, module=..., data=..., **trainer_settings)`."""

    def fitted(
        *callbacks: pl.Callback, module: Any = None, data: Any = None, ckpt_path: Any = None, **settings: Any
    ) -> Fitted:
        module = runs.module() if module is None else module
        data = runs.data(tmp_path) if data is None else data
        losses = runs.Losses()
        whole = {"max_steps": -1, "max_epochs": 2, "default_root_dir": tmp_path, **settings}
        trainer = runs.trainer(callbacks=[losses, *callbacks], **whole)
        trainer.fit(module, data, ckpt_path=ckpt_path)
        return Fitted(trainer, module, losses.losses)

    return fitted
