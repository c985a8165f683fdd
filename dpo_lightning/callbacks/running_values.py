"""Values that hooks change between two steps: random numbers, sums of metrics, what is logged and reported."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from dpo_lightning.checkpoints.random_state import RandomNumbers
from dpo_lightning.compat.lightning_loops import Moment, all_batches_done, batches_begun
from dpo_lightning.compat.lightning_results import logged_so_far, metrics_to_be_reset
from dpo_lightning.compat.modules import modules_of_kind
from dpo_lightning.compat.torchmetrics import set_update_count

OF_RANK = ("random", "metrics", "logged", "reported")


class Snapshot(NamedTuple):
    """State of a run at a moment, beside its weights and optimizers; `random` gives the random numbers' state."""

    moment: Moment
    loops: dict[str, Any]
    random: Callable[[], dict[str, Any]]
    metrics: dict[str, dict[str, Any]]
    logged: dict[str, dict[str, Any]]
    reported: dict[str, Tensor]
    schedule_steps: int

    @property
    def of_rank(self) -> dict[str, Any]:
        """Each rank's own part."""
        reported = {name: value.detach().cpu() for name, value in self.reported.items()}
        return {"random": self.random(), "metrics": self.metrics, "logged": self.logged, "reported": reported}

    def is_behind(self, trainer: pl.Trainer) -> bool:
        """Return whether a batch has begun since."""
        return batches_begun(trainer) != all_batches_done(self.loops)


def running_values(trainer: pl.Trainer, pl_module: pl.LightningModule, moment: Moment) -> dict[str, Any]:
    """Return `random`, `metrics`, `logged` and `reported` as they are now.

    Args:
        trainer: In a hook.
        pl_module: The module of the run.
        moment: After `EPOCH`, what Lightning is about to reset is empty.
    """
    empty = metrics_to_be_reset(trainer, epoch_ends=moment is Moment.EPOCH)
    # Before the values that are reported: their means are made over ranks in place.
    logged, metrics = logged_so_far(trainer), metric_states(pl_module, empty)
    reported = dict(trainer.callback_metrics)
    return {"random": RandomNumbers.now().plain, "metrics": metrics, "logged": logged, "reported": reported}


def metric_states(module: nn.Module, empty: Set[str] = frozenset()) -> dict[str, dict[str, Any]]:
    """Return the state of every metric: sums that no log has reported yet.

    Args:
        module: Holds the metrics.
        empty: Names of those that have been reported, and are about to begin anew.
    """
    found = dict(modules_of_kind(module, Metric))
    return {name: _state(_emptied(metric) if name in empty else metric) for name, metric in found.items()}


def set_metric_states(module: nn.Module, states: dict[str, dict[str, Any]]) -> None:
    """Give the metrics of a module the sums of a checkpoint; those of another shape begin anew."""
    there: dict[str, Any] = dict(module.named_modules())
    for name, state in states.items():
        metric = there.get(name)
        if metric is None or any(_shape(state.get(key)) != _shape(value) for key, value in metric.metric_state.items()):
            continue  # sums of other values, as those of SFT before it left rejected completions out: they begin anew
        set_update_count(metric, state["updates"])
        for key in metric.metric_state:
            setattr(metric, key, _move(state[key], metric.device))


def _state(metric: Metric) -> dict[str, Any]:
    return {"updates": metric.update_count, **{key: _copy(value) for key, value in metric.metric_state.items()}}


def _emptied(metric: Metric) -> Metric:
    copied = metric.clone()
    copied.reset()
    return copied


def _shape(value: Any) -> torch.Size | None:
    return value.shape if isinstance(value, Tensor) else None


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else list(value)  # which is appended to


def _move(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else [_move(item, device) for item in value]
