"""Checkpoints from which a run goes on bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from dpo_lightning.checkpoints.random_state import random_state, set_random_state
from dpo_lightning.compat.lightning_checkpoints import datamodule_key
from dpo_lightning.compat.lightning_loops import (
    Moment,
    align_logged_step,
    batches_done,
    begin_epoch_anew,
    epoch_is_done,
    loop_state,
    resume_epoch,
    step_is_done,
)
from dpo_lightning.compat.torchmetrics import set_update_count
from dpo_lightning.data.loaders_beside import resume_loaders
from dpo_lightning.utils.ranks import from_all_ranks, this_rank


class _Snapshot(NamedTuple):
    moment: Moment
    loops: dict[str, Any]
    random: dict[str, Any]
    metrics: dict[str, dict[str, Any]]
    reported: dict[str, Tensor]


class ExactResume(pl.Callback):
    """Makes every checkpoint one of the end of the last optimizer step; `PreferenceModule` adds it.

    Weights change in the optimizer step only. Whoever saves between two of them (an exception, a signal, a time limit,
    in the middle of an accumulation window or of a validation) gets, with these weights, the loop counters, random
    states and running metrics of the last step's end: what was computed since is computed again. Random states and
    metrics are those of every rank. The position in the data is the loop counter, whose meaning the DataModule checks.
    """

    def __init__(self) -> None:
        self._snapshot: _Snapshot | None = None
        self._reported: dict[str, Tensor] = {}
        self._restored: dict[str, Any] | None = None
        self._updating = False
        self._put_back: Callable[[], None] | None = None

    @property
    def can_save(self) -> bool:
        """True where the weights are those at the end of a step: not before the first, nor in the middle of one."""
        return self._snapshot is not None and not self._updating

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on with the random numbers and the running metrics of the checkpoint."""
        self._snapshot, self._reported, self._updating = None, {}, False
        if self._restored is not None:
            self._put_back = resume_loaders(trainer)
            self._resume_random()
            set_metric_states(pl_module, self._restored["metrics"])
            self._reported = self._restored["reported"]
            resume_epoch(trainer, self._reported)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the epoch after a checkpoint of an epoch's end."""
        self._put_loaders_back()
        if self._restored is not None and self._restored["moment"] == Moment.EPOCH.value:
            begin_epoch_anew(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A validation after a restart goes on with the random numbers itself."""
        if self._restored is not None and not trainer.sanity_checking:
            self._restored.pop("random", None)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Random numbers once more: a loader that starts may have drawn some."""
        self._put_loaders_back()
        if self._restored is not None:
            self._resume_random()
            align_logged_step(trainer)
            self._restored = None

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        """Note that weights and counters do not belong together until the end of the step."""
        self._updating = True

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the end of an optimizer step."""
        if step_is_done(trainer):
            self._take(trainer, pl_module, Moment.STEP)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the end of a validation within a fit."""
        if trainer.sanity_checking:
            return
        self._reported = {name: value.detach().cpu() for name, value in trainer.callback_metrics.items()}
        # In the middle of an accumulation window the end of the last step stays: the validation is run again.
        if self.can_save and step_is_done(trainer):
            self._take(trainer, pl_module, Moment.VALIDATION)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the end of an epoch that ran to its end."""
        if self.can_save and epoch_is_done(trainer):
            self._take(trainer, pl_module, Moment.EPOCH)

    def _take(self, trainer: pl.Trainer, pl_module: pl.LightningModule, moment: Moment) -> None:
        self._snapshot = _Snapshot(
            moment, loop_state(trainer, moment), random_state(), _metric_states(pl_module), self._reported
        )
        self._updating = False

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put the loop counters of the last step's end in place of those of this moment."""
        if self._snapshot is None:
            return
        checkpoint["loops"]["fit_loop"] = self._snapshot.loops
        position = checkpoint.get(datamodule_key(trainer.datamodule), {})  # type: ignore[attr-defined]
        if "batches_done" in position:
            position["batches_done"] = batches_done(self._snapshot.loops)

    def state_dict(self) -> dict[str, Any]:
        """Random states and running metrics of every rank; all ranks come here when a checkpoint is written."""
        if self._snapshot is None:
            return {}
        moment, _, random, metrics, reported = self._snapshot
        ranks = from_all_ranks({"random": random, "metrics": metrics, "reported": reported})
        return {"moment": moment.value, "ranks": ranks}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget what a validation or a test from a checkpoint has restored: this fit begins, or restores its own."""
        if trainer.ckpt_path is None:
            self._restored = None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep what is this rank's until training starts."""
        ranks = state_dict.get("ranks", [])
        if this_rank() < len(ranks):
            self._restored = {"moment": state_dict["moment"], **ranks[this_rank()]}

    def _put_loaders_back(self) -> None:
        put_back, self._put_back = self._put_back, None
        if put_back is not None:
            put_back()

    def _resume_random(self) -> None:
        if self._restored is not None and "random" in self._restored:
            set_random_state(self._restored["random"])


def _metric_states(module: nn.Module) -> dict[str, dict[str, Any]]:
    """State of every metric: sums that no log has reported yet."""
    return {
        name: {"updates": metric.update_count, **{key: _copy(value) for key, value in metric.metric_state.items()}}
        for name, metric in module.named_modules()
        if isinstance(metric, Metric)
    }


def set_metric_states(module: nn.Module, states: dict[str, dict[str, Any]]) -> None:
    """Give the metrics of a module the sums of a checkpoint; those of another shape begin anew."""
    for name, state in states.items():
        metric: Any = module.get_submodule(name)
        if any(_shape(state.get(key)) != _shape(value) for key, value in metric.metric_state.items()):
            continue  # sums of other values, as those of SFT before it left rejected completions out: they begin anew
        set_update_count(metric, state["updates"])
        for key in metric.metric_state:
            setattr(metric, key, _move(state[key], metric.device))


def _shape(value: Any) -> torch.Size | None:
    return value.shape if isinstance(value, Tensor) else None


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else [_copy(item) for item in value]


def _move(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else [_move(item, device) for item in value]
