"""The rest of Lightning's private parts."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.overrides.distributed import _IndexBatchSamplerWrapper as BatchIndices
from lightning.pytorch.utilities.model_helpers import _restricted_classmethod as class_only

__all__ = ["BatchIndices", "class_only", "cluster_environment"]

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
