"""A callback that leaves a policy that was given as a module as it was."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl

from dpo_lightning.reference.hooks import ModelHooks
from dpo_lightning.utils.trainers import saves_on_exception


class GivesBack(pl.Callback):
    """Gives a policy that was a module its own settings back, however the run ends; `PreferenceModule` adds it.

    A run that fails before its first step takes its new adapters out again too.
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
        _give_back(pl_module)
        if isinstance(pl_module, ModelHooks) and not saves_on_exception(trainer):
            pl_module.undo_untrained()


def _give_back(module: pl.LightningModule) -> None:
    if isinstance(module, ModelHooks):
        module.policy_source.give_back()
