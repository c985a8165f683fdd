"""The rest of Lightning's private parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import BatchSizeFinder, WeightAveraging
from lightning.pytorch.overrides.distributed import _IndexBatchSamplerWrapper as BatchIndices
from lightning.pytorch.plugins import MixedPrecision, Precision
from lightning.pytorch.profilers.pytorch import RegisterRecordFunction
from lightning.pytorch.utilities.model_helpers import _restricted_classmethod as class_only
from torch import Tensor, nn

__all__ = [
    "BatchIndices",
    "batch_sizes_sought",
    "class_only",
    "clipping_by",
    "cluster_environment",
    "keep_frozen_weights",
    "profiler_kept",
]

# `class_only` is the decorator of `LightningModule.load_from_checkpoint`: a classmethod that refuses to be called on an
# instance, whose weights a caller would take to be the loaded ones. Who overrides the method needs the same decorator.

# `BatchIndices` is the class that a loader's `batch_sampler` must be of for a `BasePredictionWriter` to get the indices
# of its examples, in `seen_batch_indices`; of a loader that is no `DataLoader` Lightning does not make it one.


def cluster_environment(trainer: pl.Trainer) -> Any:
    """Return the cluster environment of a run, or None.

    Touches `Trainer._accelerator_connector.cluster_environment`: strategies of one device do not hold it, and Lightning
    asks there for SLURM's signals too. Where it changes, a job that SLURM requeues saves between two steps.
    """
    return trainer._accelerator_connector.cluster_environment


@contextmanager
def clipping_by(trainer: pl.Trainer | None, clip: Callable[..., None]) -> Iterator[None]:
    """Inside the block, a run's gradients are clipped by a function of one's own in the place of its precision's.

    Puts an attribute `clip_gradients` on the precision plugin, which `LightningModule.clip_gradients` calls after its
    own checks: under mixed precision Lightning's refuses all optimizers that divide by a scale of the loss while they
    step, also where there is no scale. A plugin that clips in a way of its own, as other libraries' do, keeps it.
    """
    plugin = None if trainer is None else trainer.precision_plugin
    if plugin is None or not _clips_as_torch(type(plugin)):
        yield
        return
    vars(plugin)["clip_gradients"] = clip
    try:
        yield
    finally:
        del vars(plugin)["clip_gradients"]


def _clips_as_torch(kind: type[Precision]) -> bool:
    inner = (kind.clip_grad_by_norm, kind.clip_grad_by_value) == (
        Precision.clip_grad_by_norm,
        Precision.clip_grad_by_value,
    )
    return inner and kind.clip_gradients in (Precision.clip_gradients, MixedPrecision.clip_gradients)


def batch_sizes_sought(trainer: pl.Trainer, *, in_each_stage: bool = False) -> list[str]:
    """Return the names of the batch sizes that a `BatchSizeFinder` of the run looks for.

    With `in_each_stage`, only those of Lightning's own class, which does so at the start of each stage.

    Touches `BatchSizeFinder._batch_arg_name`, which nothing public tells. Where it changes, one that is null ends in an
    assertion of Lightning's.
    """
    finders = [each for each in trainer.callbacks if isinstance(each, BatchSizeFinder)]  # type: ignore[attr-defined]
    return [each._batch_arg_name for each in finders if type(each) is BatchSizeFinder or not in_each_stage]


def keep_frozen_weights(averaging: WeightAveraging) -> None:
    """Let a callback that averages weights leave those alone that training does.

    Touches `WeightAveraging._kwargs`, which the callback hands to torch's `AveragedModel` in its `setup`. The average
    of a frozen weight with itself is rounded, and that of a quantised one cut down to whole numbers, at every step;
    and the result ends in the model. Where it changes, adapters are averaged on a base that drifts.
    """
    average = averaging._kwargs.get("avg_fn")
    if average is not None and not isinstance(average, _OfChanged):
        averaging._kwargs["avg_fn"] = _OfChanged(average)


def profiler_kept(model: nn.Module) -> dict[int, Any]:
    """Return the memo for a `copy.deepcopy` of a model that keeps its copy's hooks with the profiler of the run.

    Touches `Module._forward_pre_hooks`, where `PyTorchProfiler` puts methods of an object that holds the whole module
    and what it records, which cannot be copied. Where it changes, a policy in memory cannot be profiled by it.
    """
    hooks = (hook for module in model.modules() for hook in module._forward_pre_hooks.values())
    owners = (getattr(getattr(hook, "func", None), "__self__", None) for hook in hooks)
    return {id(owner): owner for owner in owners if isinstance(owner, RegisterRecordFunction)}


class _OfChanged:
    def __init__(self, average: Callable[[Tensor, Tensor, Any], Tensor]) -> None:
        self.average = average

    def __call__(self, averaged: Tensor, current: Tensor, count: Any) -> Tensor:
        return torch.where(averaged == current, averaged, self.average(averaged, current, count))
