"""A guard against optimizer steps that would ruin the weights."""

from __future__ import annotations

import contextlib
import logging
import math
from typing import Any, NamedTuple, Optional, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from dpo_lightning.batch import PreferenceBatch
from dpo_lightning.callbacks.bad_steps import BadSteps
from dpo_lightning.callbacks.guarded_step import GuardedStep, MicroBatch, means_before, step_metrics
from dpo_lightning.callbacks.moving_reference import MovingReference
from dpo_lightning.compat.lightning_loops import is_of_training_step
from dpo_lightning.errors import InputError, RunError
from dpo_lightning.run import preference_batch_of
from dpo_lightning.training.logging import logs_means, logs_start
from dpo_lightning.utils.gradients import gradient_norm
from dpo_lightning.utils.kinds import check_arguments
from dpo_lightning.utils.late import LateNumbers, is_read_late, skip_no_more, skip_where, skips_on_device
from dpo_lightning.utils.settings import Rule, at_least, check_rules

_logger = logging.getLogger(__name__)

_A_SPIKE = Rule("a finite number greater than 1", lambda value: 1 < value < math.inf)


class _Before(NamedTuple):
    """State before an optimizer step, which stands until that is made."""

    trainer: pl.Trainer
    step: int
    state: dict[str, Any]


class _Pending(NamedTuple):
    """A step that the device has made or left out, and the host has not heard of."""

    step: GuardedStep
    numbers: LateNumbers


class UpdateGuard(pl.Callback):
    """Stops at, or skips, an optimizer step with a loss or a gradient that is not finite; `PreferenceModule` adds it.

    The gradient is the same on all ranks, the losses are agreed upon: all stop or skip together. A skipped step counts
    as a step, for the schedule too; its pairs are left out of the metrics, and `train/skipped_steps` is logged.

    A bad step is left out on the device where one fused Adam or AdamW steps on a GPU, the default there: its weights,
    moments and count of steps stay bit for bit, and the host does not wait to hear of it. It hears before the next step
    is made, and before anything is logged, validated or saved; the run stops or goes on then. A checkpoint that is
    taken since the run stopped is of the step's end, without its update, and goes on only with as many `skips`. With
    another optimizer or several, steps by hand, `16-mixed`, a `MovingReference`, and on the CPU the flag is read before
    the step, which is not made.

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
        self._steps = BadSteps(skips, spike)
        self._before: _Before | None = None
        self._pending: _Pending | None = None
        self._window: list[MicroBatch] = []
        self._batch: PreferenceBatch | None = None
        self._means: dict[str, dict[str, Any]] = {}

    @property
    def skipped(self) -> int:
        """Bad steps of the run that were left out."""
        return self._steps.skipped

    @property
    def scaler_skipped(self) -> int:
        """Steps of the run that a gradient scaler left out."""
        return self._steps.by_scaler.count

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with nothing pending.

        Raises:
            RunError: for a checkpoint of a run that this guard stopped, where `skips` does not allow its last step.
        """
        self._pending = None
        if trainer.ckpt_path is not None:
            self._steps.check_goes_on()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the pairs, and the metrics before them."""
        self._batch = preference_batch_of(pl_module, batch)
        if batch_idx % cast(Any, trainer).accumulate_grad_batches == 0:
            self._window = []
            self._means = means_before(pl_module)

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
        self._window.append(MicroBatch(None if self._batch is None else self._batch.row_ids, loss.detach()))

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Check the step's losses and gradient, or let the device do so.

        Raises:
            RunError: naming the optimizer step and the pair ids, when no step may be skipped (any more).
        """
        self.settle()
        self._before = _Before(trainer, trainer.global_step, self._steps.state())
        step = GuardedStep(trainer, pl_module, optimizer, trainer.global_step, self._window, self._batch, self._means)
        measured = step.measured()
        if _may_be_late(step):
            bad = self._steps.found_on_device(measured)
            skip_where(optimizer, bad)
            step.leave_out_of_means(bad)
            self._pending = _Pending(step, LateNumbers(measured))
            return
        self._check(step, *measured.tolist())
        skipped = self.skipped + self.scaler_skipped
        if skipped and logs_means(pl_module):
            pl_module.log("train/skipped_steps", float(skipped), rank_zero_only=True)

    def _check(self, step: GuardedStep, norm: float, scale: float, bad: float) -> None:
        """Let the step be made, leave it to the scaler, skip it, or stop."""
        if not math.isfinite(norm) and len(step.trainer.optimizers) > 1:  # whose gradient need not be this step's
            norm = gradient_norm(step.module, step.optimizer).item()
        by_scaler = self._steps.by_scaler
        if step.scaler is not None and not bad and by_scaler.is_left_to_it(norm, scale, step.optimizer):
            return
        problem = self._steps.find(norm, losses_finite=not bad)
        if problem is not None:
            self._steps.count(step, problem, losses_finite=not bad)
            step.drop_gradients()
            step.leave_out_of_means()

    def settle(self) -> None:
        """Hear of the step that the device has made or left out; nothing where the host knows.

        Every rank must call, in the same hook.

        Raises:
            RunError: where it was one too many to be left out.
        """
        self._hear(all_ranks=True)

    def _hear(self, *, all_ranks: bool) -> None:
        if self._pending is None:
            return
        (step, numbers), self._pending = self._pending, None
        skip_no_more(step.optimizer)
        if step.number < step.trainer.global_step:  # it was made: else a checkpoint is of the one before it
            norm, _, bad = numbers.read()
            self._steps.hear(step, norm, losses_finite=not bad, all_ranks=all_ranks)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Take the flag away from the optimizer: the step is made or left out."""
        if self._pending is not None:
            skip_no_more(self._pending.step.optimizer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hear of the last step before its weights are validated."""
        self.settle()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hear of the last step before anything is made of the epoch."""
        self.settle()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say so where no step was made at all: a run that is too short for the scaler to find its scale."""
        self.settle()
        if 0 < trainer.global_step == self.skipped + self.scaler_skipped:
            rank_zero_warn(f"all {trainer.global_step} optimizer steps were skipped: nothing was trained")
        self._before = None

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
        with contextlib.suppress(Exception):
            self._hear(all_ranks=False)  # for a checkpoint that is still to be taken
        self._window, self._batch, self._means, self._pending = [], None, {}, None

    def state_dict(self) -> dict[str, Any]:
        """Return the numbers of skipped steps, and the norms that a spike is measured against, at the last step's end.

        A checkpoint that is taken before a step is made is of the one before it, and a resumed run counts this one.
        """
        before = self._before
        if before is not None and before.trainer.global_step == before.step:
            return before.state
        self.settle()
        return self._steps.state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the counts and the norms."""
        self._before, self._pending = None, None
        self._steps.restore(state_dict)


def _may_be_late(step: GuardedStep) -> bool:
    """Return whether the device can leave the step out by itself, and nobody needs to know at once."""
    trainer, module = cast(Any, step.trainer), step.module
    by_one_kernel = len(trainer.optimizers) == 1 and module.automatic_optimization and step.scaler is None
    return (
        by_one_kernel
        and is_read_late(module.device)
        and skips_on_device(step.optimizer)
        and not (logs_means(module) or logs_start(trainer))
        and not any(isinstance(each, MovingReference) for each in trainer.callbacks)
        and all(
            isinstance(value, Tensor) for each in step_metrics(module).values() for value in each.metric_state.values()
        )
    )


def _described(loss: Tensor) -> str:
    if loss.numel() != 1:
        return f"a tensor of shape {[*loss.shape]}"
    return f"of {loss.dtype}" if loss.is_complex() else "without a gradient"


def _concerns_a_batch(error: BaseException) -> bool:
    return isinstance(error, Exception) and not isinstance(error, RunError) and is_of_training_step(error)
