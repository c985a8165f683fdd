"""The means over a stage in the log, on the progress bar, and for callbacks that watch them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers.logger import DummyLogger
from torch import Tensor
from torch.optim import Optimizer

from dpo_lightning.compat.lightning_loops import batches_begun, epoch_is_done, forget_logged, logs_this_step
from dpo_lightning.compat.torchmetrics import set_update_count
from dpo_lightning.report.point_logger import LogsStart
from dpo_lightning.training.list_metrics import Means
from dpo_lightning.training.set_means import SetMeans
from dpo_lightning.utils.gradients import gradient_norm, norm_of_step
from dpo_lightning.utils.trainers import is_fitting

_ON_THE_BAR = {"loss": "loss", "margin": "rewards/margins", "accuracy": "rewards/accuracies"}


class LogsTraining(pl.LightningModule):
    """Logs the means of the training: a part of `PreferenceModule`.

    Loggers get, at the interval of `log_every_n_steps`, the gradient's norm before clipping and the means over the
    examples since the last log: one reduction over ranks. Callbacks and schedules find the means since the last log
    also at the end of an epoch and at a validation, and after every step where one of them monitors a `train/` value.

    The metrics of the first optimizer step are logged as those of step 0, too: they are of the weights before any
    update, so that no further pass is needed, and with a loss of ln 2 for DPO, curves begin where they must. Loggers
    that count steps from 0 have that row anyway where each step is logged. It costs one reduction over ranks, once.

    Attributes:
        train_metrics: The metric that training steps add to.
    """

    train_metrics: Means
    _norms: tuple[int, dict[int, Tensor]] = (0, {})

    @abstractmethod
    def expert_metrics(self) -> Mapping[str, Tensor]:
        """Return what is known of the last micro-batch's experts, by name; the mean over ranks is logged."""

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Log what the interval has added, while the gradient is there.

        That leaves empty sums at the step's end: a checkpoint taken there and the log agree on what was reported.
        """
        trainer: Any = self.trainer
        due = logs_this_step(trainer)
        if logs_start(trainer):
            _log_start(self, due=due)
        if not logs_means(self):
            return
        self.log("train/grad_norm", self._norm_of_step(optimizer))
        log_means(self, self.train_metrics, "train", keep=not due)
        for name, value in self.expert_metrics().items():
            self.log(f"train/{name}", value, sync_dist=True)

    def _norm_of_step(self, optimizer: Optimizer) -> Tensor:
        """Return the norm of the gradients; of several optimizers that of what those of the batch have taken so far."""
        if len(self.trainer.optimizers) == 1:
            return norm_of_step(self)
        batch, norms = batches_begun(self.trainer), self._norms[1]
        norms = {**(norms if batch == self._norms[0] else {}), id(optimizer): gradient_norm(self, optimizer)}
        self._norms = (batch, norms)
        return torch.linalg.vector_norm(torch.stack(list(norms.values())))

    def on_validation_start(self) -> None:
        """Show callbacks the means since the last log: an interval may end after the validation."""
        if self.trainer.sanity_checking or not is_fitting(self.trainer):
            return
        means = {f"train/{name}": value for name, value in means_of(self.train_metrics).items()}
        self.trainer.callback_metrics.update(means)


def _log_start(module: LogsTraining, *, due: bool) -> None:
    """Log the means of the first step's micro-batches, before they are logged, or go on adding up.

    Args:
        module: Before its first optimizer step.
        due: Whether the step itself is logged.
    """
    means = means_of(module.train_metrics)  # on every rank: rank 0 alone may have loggers
    loggers = [each for each in module.trainer.loggers if not isinstance(each, DummyLogger)]
    loggers = [each for each in loggers if isinstance(each, LogsStart) or not due]
    if not means or not loggers:
        return
    values = torch.stack([mean.float() for mean in means.values()]).tolist()
    named = {f"train/{name}": value for name, value in zip(means, values, strict=True)}
    for logger in loggers:
        start = {**named, "epoch": module.trainer.current_epoch}
        if isinstance(logger, LogsStart):
            logger.log_start(start)
        else:
            logger.log_metrics(start, step=0)
        logger.save()


def ends_here(module: pl.LightningModule) -> bool:
    """Return whether the step is the last one of the epoch, or of the run."""
    return epoch_is_done(module.trainer) or module.global_step + 1 == module.trainer.max_steps


def logs_start(trainer: pl.Trainer) -> bool:
    """Return whether the step's metrics are those of the start."""
    return bool(trainer.global_step == 0 and trainer.log_every_n_steps)  # type: ignore[attr-defined]


def logs_means(module: pl.LightningModule) -> bool:
    """Return whether the means of the training are logged, or shown to callbacks, in the optimizer step."""
    trainer = module.trainer
    return not trainer.barebones and (logs_this_step(trainer) or ends_here(module) or _is_monitored(trainer))


def _is_monitored(trainer: pl.Trainer) -> bool:
    """Return whether a callback or a schedule reads a mean of the training by its name."""
    watching = [*trainer.callbacks, *trainer.lr_scheduler_configs]  # type: ignore[attr-defined]
    return any(str(getattr(each, "monitor", None)).startswith("train/") for each in watching)


def log_means(module: pl.LightningModule, metrics: Means | SetMeans, stage: str, *, keep: bool = False) -> None:
    """Log the means, of all ranks, and begin them anew.

    Args:
        module: In a hook that may log.
        metrics: The metrics that the stage has added to.
        stage: `train`, `val` or `test`: the names begin with it.
        keep: Go on with the sums: the log that they are for is still to come.
    """
    means = means_of(metrics)
    if not means:  # of several optimizers, the first one logs
        return
    # The means are those of all ranks already; Lightning warns of each that it does not reduce once more.
    ranks: dict[str, Any] = {"rank_zero_only": True} if stage == "train" else {"sync_dist": True}
    for name, value in means.items():
        module.log(f"{stage}/{name}", value, **ranks)
    prefix = "" if stage == "train" else f"{stage}_"
    for label, name in _ON_THE_BAR.items():
        if name in means:
            # After every training step Lightning makes numbers of those on the bar: on the host they are there.
            shown = means[name].cpu() if stage == "train" else means[name]
            module.log(prefix + label, shown, prog_bar=True, logger=False, **ranks)
    forget_logged(module.trainer, (f"{stage}/{name}" for name in metrics.names - means.keys()))
    if not keep:
        metrics.reset()


def means_of(metrics: Means | SetMeans) -> dict[str, Tensor]:
    """Compute the means of all ranks, which must all call; none where no rank has added anything.

    Batches of other data alone add nothing.
    """
    if metrics.update_count:
        return metrics.compute()
    set_update_count(metrics, 1)  # to torchmetrics this is a mistake, and the other ranks wait for this one
    means = metrics.compute()
    set_update_count(metrics, 0)
    return {} if means.get("loss", torch.tensor(torch.nan)).isnan() else means
