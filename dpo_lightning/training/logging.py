"""The means over a stage in the log and on the progress bar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from dpo_lightning.compat.lightning_loops import forget_logged
from dpo_lightning.training.metrics import Means
from dpo_lightning.utils.gradients import gradient_norm

_ON_THE_BAR = {"loss": "loss", "margin": "rewards/margins", "accuracy": "rewards/accuracies"}


def log_training(module: pl.LightningModule, metrics: Means, experts: Mapping[str, Tensor] = {}) -> None:
    """Log, once per interval, the gradient's norm before clipping and the means over the examples since the last log.

    That is one reduction over ranks. Called before the optimizer step, it leaves empty sums at the step's end: a
    checkpoint taken there and the log agree on what was reported.

    Args:
        module: In a hook that may log.
        metrics: The metric that a training step adds to.
        experts: What is known of the last micro-batch's experts, by name; the mean over ranks is logged.
    """
    interval: int = module.trainer.log_every_n_steps  # type: ignore[attr-defined]
    if interval and (module.global_step + 1) % interval == 0:  # 0 logs nothing, as in a barebones Trainer
        module.log("train/grad_norm", gradient_norm(module))
        log_means(module, metrics, "train")
        for name, value in experts.items():
            module.log(f"train/{name}", value, sync_dist=True)


def log_means(module: pl.LightningModule, metrics: Means, stage: str) -> None:
    """Log the means, of all ranks, and begin them anew.

    Args:
        module: In a hook that may log.
        metrics: The metrics that the stage has added to.
        stage: `train`, `val` or `test`: the names begin with it.
    """
    means = metrics.compute()
    # The means are those of all ranks already; Lightning warns of each that it does not reduce once more.
    ranks: dict[str, Any] = {"rank_zero_only": True} if stage == "train" else {"sync_dist": True}
    for name, value in means.items():
        module.log(f"{stage}/{name}", value, **ranks)
    prefix = "" if stage == "train" else f"{stage}_"
    for label, name in _ON_THE_BAR.items():
        if name in means:
            module.log(prefix + label, means[name], prog_bar=True, logger=False, **ranks)
    forget_logged(module.trainer, (f"{stage}/{name}" for name in metrics.names - means.keys()))
    metrics.reset()
