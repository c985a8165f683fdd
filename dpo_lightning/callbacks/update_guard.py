"""A guard against optimizer steps that would ruin the weights."""

from __future__ import annotations

import contextlib
import logging
import math
import statistics
from collections import deque
from typing import Any, NamedTuple, Optional, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from dpo_lightning.errors import InputError, RunError
from dpo_lightning.run import PreferenceRun
from dpo_lightning.utils.gradients import gradient_norm
from dpo_lightning.utils.kinds import check_arguments
from dpo_lightning.utils.ranks import from_all_ranks, max_over_ranks
from dpo_lightning.utils.settings import Rule, at_least, check_rules

_logger = logging.getLogger(__name__)

_NORMS = 100  # optimizer steps whose gradient norms a spike is measured against
_FEWEST = 10
_A_SPIKE = Rule("greater than 1", lambda value: value > 1)


class _MicroBatch(NamedTuple):
    row_ids: Tensor
    loss: Tensor


class UpdateGuard(pl.Callback):
    """Stops at, or skips, an optimizer step with a loss or a gradient that is not finite; `PreferenceModule` adds it.

    The gradient is the same on all ranks, the losses are agreed upon: all stop or skip together. Reads one flag of the
    device per optimizer step. Where Lightning scales the loss (`16-mixed`), its scaler skips gradients that are not
    finite, and only losses are looked at here. A skipped step counts as a step, for the schedule too; its pairs are
    left out of the metrics, and `train/skipped_steps` is logged.

    Args:
        skips: Steps of the run that may be skipped before it stops; 0 stops at the first.
        spike: Also refuse a gradient norm of more than this many times the median of the last 100 steps'.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from torch.utils.data import DataLoader
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from dpo_lightning import PreferenceModule, TokenizedExample
        >>> from dpo_lightning.batch import collate_padded
        >>> from dpo_lightning.callbacks import UpdateGuard
        >>> config = LlamaConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
        >>> policy = LlamaForCausalLM(config)
        >>> policy.model.embed_tokens.weight.data[3] = float("nan")
        >>> data = DataLoader([TokenizedExample.pair(0, [1, 2], [3, 4], [5])], collate_fn=collate_padded)
        >>> settings = dict(logger=False, enable_progress_bar=False, enable_model_summary=False)
        >>> trainer = Trainer(max_steps=1, callbacks=[UpdateGuard(skips=0)], **settings)
        >>> trainer.fit(PreferenceModule(policy), data)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        dpo_lightning.errors.RunError: a loss is not finite at optimizer step 0, on the pairs [0] ...
    """

    def __init__(self, skips: int = 0, spike: Optional[float] = None) -> None:
        check_arguments(UpdateGuard, locals(), "UpdateGuard.")
        check_rules("UpdateGuard.", locals(), skips=at_least(0), spike=_A_SPIKE)
        self.skips = skips
        self.spike = spike
        self.skipped = 0
        self._norms: deque[float] = deque(maxlen=_NORMS)
        self._window: list[_MicroBatch] = []
        self._batch: Any = None
        self._means: dict[str, dict[str, Any]] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse `spike` where gradients cannot be measured.

        Raises:
            InputError: for `spike` where the loss is scaled.
        """
        if self.spike is not None and _scaled(trainer):
            raise InputError("UpdateGuard.spike: gradients are scaled under 16-mixed: use bf16-mixed, or leave it out")

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the pairs, and the metrics before them."""
        self._batch = batch
        if batch_idx % cast(Any, trainer).accumulate_grad_batches == 0:
            self._window = []
            self._means = _means(pl_module)

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Remember the loss."""
        self._window.append(_MicroBatch(self._batch.row_ids, loss.detach()))

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Check the step's losses and gradient.

        Raises:
            RunError: naming the optimizer step and the pair ids, when no step may be skipped (any more).
        """
        norm, losses_finite = self._measure(trainer, pl_module)
        problem = self._problem(norm, losses_finite)
        if problem is None:
            self._norms.append(norm)
            return
        message = f"{problem} at optimizer step {trainer.global_step}, {self._pairs(losses_finite)}"
        if self.skipped >= self.skips:
            advice = "look at these rows, lower the learning rate, or raise the precision"
            after = f" after {self.skipped} skipped steps" if self.skips else ""
            raise RunError(f"{message}{after}: {advice}")
        self.skipped += 1
        rank_zero_warn(f"{message}: skipped, {self.skipped} of at most {self.skips}")
        self._skip(pl_module, optimizer)

    def _measure(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> tuple[float, bool]:
        """Return the gradient's norm, and whether the losses of all ranks are finite: one read of the device."""
        bad = torch.stack([~torch.isfinite(micro_batch.loss) for micro_batch in self._window]).any().float()
        norm = torch.zeros_like(bad) if _scaled(trainer) else gradient_norm(pl_module).to(bad.device, torch.float32)
        norm_read, bad_read = torch.stack([norm, max_over_ranks(bad)]).tolist()
        return norm_read, not bad_read

    def _problem(self, norm: float, losses_finite: bool) -> str | None:
        if not losses_finite:
            return "a loss is not finite"
        if not math.isfinite(norm):
            return f"the gradient norm is {norm} although the losses are finite,"
        if self.spike is not None and len(self._norms) >= _FEWEST:
            usual = statistics.median(self._norms)
            if norm > self.spike * usual:
                return f"the gradient norm is {norm:.3g}, {norm / usual:.1f} times the usual {usual:.3g},"
        return None

    def _pairs(self, losses_finite: bool) -> str:
        """Name the rows to look at, over all ranks: those with a bad loss, or all of the step."""
        mine = [
            pair
            for row_ids, loss in self._window
            if losses_finite or not torch.isfinite(loss)
            for pair in row_ids.tolist()
        ]
        pairs = sorted({pair for rank in from_all_ranks(mine) for pair in rank})
        return f"on the pairs {pairs} (rows of the training split, from 0)"

    def _skip(self, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer) -> None:
        """Drop the gradients: without one, an optimizer leaves a parameter alone, its moments and weight decay too."""
        optimizer.zero_grad(set_to_none=True)
        metrics = pl_module.step_metrics() if isinstance(pl_module, PreferenceRun) else {}
        for name, metric in metrics.items():
            for key, value in self._means[name].items():
                setattr(metric, key, value)
        pl_module.log("train/skipped_steps", float(self.skipped), rank_zero_only=True)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Log the batch in which something else went wrong, and let go of all tensors."""
        if self._batch is not None and isinstance(exception, Exception) and not isinstance(exception, RunError):
            with contextlib.suppress(RuntimeError):  # of a device that cannot be read any more
                _logger.error(
                    "%s at optimizer step %d, in a micro-batch of %d tokens with the pairs %s",
                    type(exception).__name__,
                    trainer.global_step,
                    self._batch.input_ids.numel(),
                    self._batch.row_ids.tolist(),
                )
        self._window, self._batch, self._means = [], None, {}

    def state_dict(self) -> dict[str, Any]:
        """Return the number of skipped steps, and the norms that a spike is measured against."""
        return {"skipped": self.skipped, "norms": list(self._norms)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the count and the norms."""
        self.skipped = state_dict["skipped"]
        self._norms = deque(state_dict["norms"], maxlen=_NORMS)


def _means(module: pl.LightningModule) -> dict[str, dict[str, Any]]:
    """Return the state of a step's metrics; each update makes new tensors, so these keep their values."""
    metrics = module.step_metrics() if isinstance(module, PreferenceRun) else {}
    return {name: dict(metric.metric_state) for name, metric in metrics.items()}


def _scaled(trainer: pl.Trainer) -> bool:
    return getattr(trainer.precision_plugin, "scaler", None) is not None
