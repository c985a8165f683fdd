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

from dpo_lightning.batch import PreferenceBatch
from dpo_lightning.callbacks.step_zero import scoring
from dpo_lightning.compat.lightning_loops import is_of_training_step
from dpo_lightning.compat.torch import is_unscaled, loss_scale
from dpo_lightning.errors import InputError, RunError
from dpo_lightning.run import PreferenceRun, preference_batch_of
from dpo_lightning.utils.gradients import gradient_norm, gradient_scaler
from dpo_lightning.utils.kinds import check_arguments
from dpo_lightning.utils.ranks import from_all_ranks, max_over_ranks
from dpo_lightning.utils.settings import Rule, at_least, check_rules

_logger = logging.getLogger(__name__)

_NORMS = 100  # optimizer steps whose gradient norms a spike is measured against
_FEWEST = 10
_SCALER_SKIPS = 32  # in a row: a scale of 2 ** 31 has come down to 1 by then, and one that hardly moves is found
_A_SPIKE = Rule("a finite number greater than 1", lambda value: 1 < value < math.inf)


class _MicroBatch(NamedTuple):
    row_ids: Tensor | None  # of a batch without preferences there are none
    loss: Tensor


class _Before(NamedTuple):
    """State before an optimizer step, which stands until that is made."""

    trainer: pl.Trainer
    step: int
    state: dict[str, Any]


class UpdateGuard(pl.Callback):
    """Stops at, or skips, an optimizer step with a loss or a gradient that is not finite; `PreferenceModule` adds it.

    The gradient is the same on all ranks, the losses are agreed upon: all stop or skip together. Reads one flag of the
    device per optimizer step. A skipped step counts as a step, for the schedule too; its pairs are left out of the
    metrics, and `train/skipped_steps` is logged.

    Where Lightning scales the loss (`16-mixed`), its scaler skips a step whose gradient is not finite, and halves the
    scale: so it finds the scale in the first steps, and `skips` does not count these. They are logged too, their losses
    stay in the metrics. A gradient that is not finite at a scale of 1 or less, which is the 17th such step in a row of
    a run that begins at 65,536, or at the 32nd in a row, whatever the scale, is a bad one as any other.

    Args:
        skips: Bad steps of the run that may be skipped before it stops; 0 stops at the first.
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
        self.scaler_skipped = 0
        self._in_a_row = 0
        self._bad_one: int | None = None  # the `id` of the optimizer whose step the scaler skipped last
        self._before: _Before | None = None
        self._norms: deque[float] = deque(maxlen=_NORMS)
        self._window: list[_MicroBatch] = []
        self._batch: PreferenceBatch | None = None
        self._means: dict[str, dict[str, Any]] = {}

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the pairs, and the metrics before them."""
        self._batch = preference_batch_of(pl_module, batch)
        if batch_idx % cast(Any, trainer).accumulate_grad_batches == 0:
            self._window = []
            self._means = _means(pl_module)

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Remember the loss.

        Raises:
            InputError: for one that no gradient can be taken of, which torch would say without a place.
        """
        by_lightning = pl_module.automatic_optimization
        if not loss.requires_grad or (by_lightning and (loss.is_complex() or loss.numel() != 1)):
            raise InputError(
                f"the loss of training_step is {_described(loss)}: return one real number that depends on the policy's "
                "parameters, without detach() or item()"
            )
        self._window.append(_MicroBatch(None if self._batch is None else self._batch.row_ids, loss.detach()))

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Check the step's losses and gradient.

        Raises:
            RunError: naming the optimizer step and the pair ids, when no step may be skipped (any more).
        """
        self._before = _Before(trainer, trainer.global_step, self._state())
        scaler = gradient_scaler(pl_module)
        norm, scale, losses_finite = self._measure(pl_module, scaler)
        if not math.isfinite(norm) and len(trainer.optimizers) > 1:  # whose gradient need not be this step's
            norm = gradient_norm(pl_module, optimizer).item()
        if scaler is not None and losses_finite and self._is_left_to_the_scaler(norm, scale, optimizer):
            self._log_skipped(pl_module)
            return
        problem = self._problem(norm, losses_finite)
        if problem is not None and not losses_finite and self._lacks_a_reference(trainer, pl_module):
            objective = type(cast(PreferenceRun, pl_module).objective).__name__
            raise RunError(
                f"{problem}: it reads the log-probs of the reference, and {objective}.reads does not name "
                "Reads.REFERENCE, without which no reference is scored: add it, or give an objective that has it"
            )
        if problem is None:
            self._norms.append(norm)
            self._log_skipped(pl_module)
            return
        message = f"{problem} at optimizer step {trainer.global_step}, {self._pairs(losses_finite)}"
        if self.skipped >= self.skips:
            raise RunError(
                f"{message}{self._after()}: look at these rows, lower the learning rate, or raise the precision"
            )
        self.skipped += 1
        rank_zero_warn(f"{message}: skipped, {self.skipped} of at most {self.skips}")
        self._skip(pl_module, optimizer, scaler)

    def _lacks_a_reference(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> bool:
        """Score the last batch once more to tell; all ranks have a bad step, and must all do so, or none."""
        run, batch = pl_module, self._batch
        if not isinstance(run, PreferenceRun) or run.reads_reference or not all(from_all_ranks(batch is not None)):
            return False
        with scoring(trainer):
            return all(from_all_ranks(run.lacks_a_reference(cast(PreferenceBatch, batch))))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say so where no step was made at all: a run that is too short for the scaler to find its scale."""
        if 0 < trainer.global_step == self.skipped + self.scaler_skipped:
            rank_zero_warn(f"all {trainer.global_step} optimizer steps were skipped: nothing was trained")
        self._before = None

    def _after(self) -> str:
        """Name what was skipped before the run stops."""
        by_whom = [(self.skipped, "skipped steps"), (self.scaler_skipped, "steps that the gradient scaler skipped")]
        skipped = [f"{count} {what}" for count, what in by_whom if count]
        return f" after {' and '.join(skipped)}" if skipped else ""

    def _measure(self, pl_module: pl.LightningModule, scaler: torch.amp.GradScaler | None) -> tuple[float, float, bool]:
        """Return the gradient's norm, the scale, and whether the losses of all ranks are finite, in one read."""
        # Without a loss (a training_step may return None) this rank has nothing to say, and the others wait for it.
        losses = [micro_batch.loss for micro_batch in self._window] or [torch.zeros((), device=pl_module.device)]
        bad = torch.stack([~torch.isfinite(loss).all() for loss in losses]).any().float()
        norm = gradient_norm(pl_module).to(bad.device, torch.float32)
        scale = _scale(scaler, bad)
        norm_read, scale_read, bad_read = torch.stack([norm, scale, max_over_ranks(bad)]).tolist()
        return norm_read, scale_read, not bad_read

    def _is_left_to_the_scaler(self, norm: float, scale: float, optimizer: torch.optim.Optimizer) -> bool:
        """Say if the scaler skips the step and may do so, and count it; in a row are the steps of one optimizer."""
        if math.isfinite(norm):
            if self._bad_one in (None, id(optimizer)):
                self._in_a_row = 0
            return False
        self._bad_one = id(optimizer)
        self._in_a_row += 1
        if scale <= 1 or self._in_a_row >= _SCALER_SKIPS:
            return False
        self.scaler_skipped += 1
        return True

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
            if row_ids is not None and (losses_finite or not torch.isfinite(loss))
            for pair in row_ids.tolist()
        ]
        pairs = sorted({pair for rank in from_all_ranks(mine) for pair in rank})
        if not pairs:
            return "in batches without preferences"
        return f"on the pairs {pairs} (rows of the training split, from 0)"

    def _skip(
        self, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None
    ) -> None:
        """Drop the gradients: without one, an optimizer leaves a parameter alone, its moments and weight decay too."""
        if scaler is not None and not is_unscaled(scaler, optimizer):
            scaler.unscale_(optimizer)  # it asks what this found, and could not without a gradient
        optimizer.zero_grad(set_to_none=True)
        metrics = pl_module.step_metrics() if isinstance(pl_module, PreferenceRun) else {}
        for name, metric in metrics.items():
            for key, value in self._means[name].items():
                setattr(metric, key, value)
        self._log_skipped(pl_module)

    def _log_skipped(self, pl_module: pl.LightningModule) -> None:
        """Log the count in each step after the first that was skipped: a logger takes those of its interval."""
        if skipped := self.skipped + self.scaler_skipped:
            pl_module.log("train/skipped_steps", float(skipped), rank_zero_only=True)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Log the batch in whose training step something else went wrong, and let go of all tensors."""
        batch = self._batch
        # The error that is raised is to be the user's, whatever goes wrong here, as with a device that cannot be read.
        with contextlib.suppress(Exception):
            if batch is not None and _concerns_a_batch(exception):
                _logger.error(
                    "%s at optimizer step %d, in a micro-batch of %d tokens with the pairs %s",
                    type(exception).__name__,
                    trainer.global_step,
                    batch.input_ids.numel(),
                    batch.row_ids.tolist(),
                )
        self._window, self._batch, self._means = [], None, {}

    def state_dict(self) -> dict[str, Any]:
        """Return the numbers of skipped steps, and the norms that a spike is measured against, at the last step's end.

        A checkpoint that is taken before a step is made is of the one before it, and a resumed run counts this one.
        """
        before = self._before
        return before.state if before is not None and before.trainer.global_step == before.step else self._state()

    def _state(self) -> dict[str, Any]:
        by_scaler = {"scaler_skipped": self.scaler_skipped, "in_a_row": self._in_a_row}
        return {"skipped": self.skipped, **by_scaler, "norms": list(self._norms)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the counts and the norms; older checkpoints count no steps that a scaler skipped."""
        self._before, self._bad_one = None, None
        self.skipped = state_dict["skipped"]
        self.scaler_skipped = state_dict.get("scaler_skipped", 0)
        self._in_a_row = state_dict.get("in_a_row", 0)
        self._norms = deque(state_dict["norms"], maxlen=_NORMS)


def _described(loss: Tensor) -> str:
    if loss.numel() != 1:
        return f"a tensor of shape {[*loss.shape]}"
    return f"of {loss.dtype}" if loss.is_complex() else "without a gradient"


def _concerns_a_batch(error: BaseException) -> bool:
    return isinstance(error, Exception) and not isinstance(error, RunError) and is_of_training_step(error)


def _means(module: pl.LightningModule) -> dict[str, dict[str, Any]]:
    """Return the state of a step's metrics; each update makes new tensors, so these keep their values."""
    metrics = module.step_metrics() if isinstance(module, PreferenceRun) else {}
    return {name: dict(metric.metric_state) for name, metric in metrics.items()}


def _scale(scaler: torch.amp.GradScaler | None, like: Tensor) -> Tensor:
    """Return the factor of the loss, on the device and in the dtype of another number; 1 without a scaler."""
    scale = None if scaler is None else loss_scale(scaler)
    return torch.ones_like(like) if scale is None else scale.to(like)
