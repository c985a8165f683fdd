"""A loss that is no number stops the run before it reaches the weights."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from dpo_lightning.errors import RunError


class NonFiniteStop(pl.Callback):
    """Stops at the first NaN or infinite loss and names the pairs of the batch; `PreferenceModule` adds it.

    Reads one flag of the device per micro-batch, before the backward: the optimizer never sees the gradient.
    """

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the pairs of the batch."""
        self._pair_ids: Tensor = batch.pair_ids

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Check the loss.

        Raises:
            RunError: naming the optimizer step and the pair ids.
        """
        if not torch.isfinite(loss):
            raise RunError(
                f"the loss is {loss.item()} at optimizer step {trainer.global_step}, on the pairs "
                f"{self._pair_ids.tolist()} (rows of the training split, from 0): look at these rows, lower the "
                "learning rate, or raise the precision"
            )
