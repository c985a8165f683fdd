"""A callback that gives a policy its own layers back, and a module that was given its settings."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_warn

from dpo_lightning.reference.hooks import ModelHooks
from dpo_lightning.utils.text import one_line
from dpo_lightning.utils.trainers import saves_on_exception


class GivesBack(pl.Callback):
    """Gives a policy its own layers, and a module that was given its settings, back; `PreferenceModule` adds it.

    However the run ends. One that fails before its first step takes its new adapters out again too.
    """

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Note that the module is no longer as it was built."""
        if isinstance(pl_module, ModelHooks):
            pl_module.is_trained = True

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give it back."""
        _give_back(pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give it back, with no adapters of a run that has not trained."""
        try:
            _give_back(pl_module)
        except Exception as error:  # a device that has failed, or no memory: the first error is the one to see
            rank_zero_warn(f"the policy keeps the layers of the run: {one_line(error, 200)}")
            return
        if isinstance(pl_module, ModelHooks) and not saves_on_exception(trainer):
            pl_module.undo_untrained()


def _give_back(module: pl.LightningModule) -> None:
    if isinstance(module, ModelHooks):
        module.policy_source.give_back()
