"""An optimizer step under guard: what went into it, how it is measured, and what is left out with it."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import lightning.pytorch as pl
import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer
from torchmetrics import Metric

from dpo_lightning.batch import PreferenceBatch
from dpo_lightning.callbacks.step_zero import scoring
from dpo_lightning.compat.torch import is_unscaled, loss_scale
from dpo_lightning.errors import RunError
from dpo_lightning.run import PreferenceRun
from dpo_lightning.training.logging import logs_means
from dpo_lightning.utils.gradients import gradient_norm, gradient_scaler, norm_of_step
from dpo_lightning.utils.ranks import from_all_ranks, max_over_ranks


class MicroBatch(NamedTuple):
    """The pairs of a micro-batch, None of one without preferences, and its loss."""

    row_ids: Tensor | None
    loss: Tensor


class GuardedStep(NamedTuple):
    """A step that is about to be made.

    Attributes:
        trainer: The Trainer, in `on_before_optimizer_step`.
        module: The module that it trains.
        optimizer: The optimizer of the step.
        number: Optimizer steps before it.
        window: Its micro-batches.
        batch: The last of its batches, where that has preferences.
        means: State of the metrics before its first micro-batch, as `means_before` gives it.
    """

    trainer: pl.Trainer
    module: pl.LightningModule
    optimizer: Optimizer
    number: int
    window: list[MicroBatch]
    batch: PreferenceBatch | None
    means: dict[str, dict[str, Any]]

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        """The scaler of the loss."""
        return gradient_scaler(self.module)

    def measured(self) -> Float[Tensor, "3"]:
        """Return, on the device, the gradient's norm, the scale, and 1 where a loss of any rank is not finite.

        Every rank must call.
        """
        # Without a loss (a training_step may return None) this rank has nothing to say, and the others wait for it.
        losses = [each.loss for each in self.window] or [torch.zeros((), device=self.module.device)]
        bad = torch.stack([~torch.isfinite(loss).all() for loss in losses]).any().float()
        norm = self._norm().to(bad.device, torch.float32)
        scale = None if self.scaler is None else loss_scale(self.scaler)
        scale = torch.ones_like(bad) if scale is None else scale.to(bad)
        return torch.stack([norm, scale, max_over_ranks(bad)])

    def _norm(self) -> Float[Tensor, ""]:
        """Return the gradient's norm, kept with what it is of only where somebody reads it again: 0.3 us a weight."""
        if self.trainer.gradient_clip_val or logs_means(self.module):
            return norm_of_step(self.module, measure=True)
        return gradient_norm(self.module)

    def pairs(self, *, losses_finite: bool, all_ranks: bool = True) -> str:
        """Name the rows to look at: those with a bad loss, or all of the step; over all ranks, which must all call."""
        mine = [
            pair
            for row_ids, loss in self.window
            if row_ids is not None and (losses_finite or not torch.isfinite(loss))
            for pair in row_ids.tolist()
        ]
        pairs = sorted({pair for rank in (from_all_ranks(mine) if all_ranks else [mine]) for pair in rank})
        if not pairs:
            return "in batches without preferences"
        return f"on the pairs {pairs} (rows of the training split, from 0)"

    def check_reference(self, problem: str) -> None:
        """Score the last batch once more to tell a reference that is read and not scored.

        All ranks have a bad step, and must all do so, or none.

        Raises:
            RunError: for such a one, which is no fault of the rows.
        """
        run, batch = self.module, self.batch
        if not isinstance(run, PreferenceRun) or run.reads_reference or not all(from_all_ranks(batch is not None)):
            return
        with scoring(self.trainer):
            lacks_it = all(from_all_ranks(run.lacks_a_reference(cast(PreferenceBatch, batch))))
        if lacks_it:
            objective = type(run.objective).__name__
            raise RunError(
                f"{problem}: it reads the log-probs of the reference, and {objective}.reads does not name "
                "Reads.REFERENCE, without which no reference is scored: add it, or give an objective that has it"
            )

    def drop_gradients(self) -> None:
        """Drop the gradients: without one, an optimizer leaves a parameter alone, its moments and weight decay too."""
        scaler = self.scaler
        if scaler is not None and not is_unscaled(scaler, self.optimizer):
            scaler.unscale_(self.optimizer)  # it asks what this found, and could not without a gradient
        self.optimizer.zero_grad(set_to_none=True)

    def leave_out_of_means(self, bad: Tensor | None = None) -> None:
        """Take the step's pairs out of the metrics; with a flag of the device, where that is true."""
        for name, metric in step_metrics(self.module).items():
            for key, before in self.means[name].items():
                setattr(metric, key, before if bad is None else torch.where(bad, before, getattr(metric, key)))


def step_metrics(module: pl.LightningModule) -> dict[str, Metric]:
    """Return the metrics that a training step adds to; those of a `PreferenceModule` are known."""
    return module.step_metrics() if isinstance(module, PreferenceRun) else {}


def means_before(module: pl.LightningModule) -> dict[str, dict[str, Any]]:
    """Return the state of a step's metrics; each update makes new tensors, so these keep their values."""
    return {name: dict(metric.metric_state) for name, metric in step_metrics(module).items()}
