"""Means over the sets of an evaluation, and over all of their examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dpo_lightning.compat.torchmetrics import Float32Metric
from dpo_lightning.training.list_metrics import Means


class SetMeans(Float32Metric):
    """The means that a metric makes, over all examples and over those of each set, for which the names are prefixed.

    The sums of all sets are one tensor, so that ranks exchange one. A mean over all examples is that over their sums:
    large sets count for more.

    Args:
        means: Says what is added, and which means the sums make; its own state is not touched.
    """

    full_state_update = False
    totals: Tensor

    def __init__(self, means: Means) -> None:
        super().__init__()
        self._of = (means,)  # in a tuple: as a child it would be another metric of the run
        self.begin()

    def begin(self, sets: Sequence[str] = ()) -> None:
        """Begin anew, for sets of these names; none for one set without a name."""
        self.sets = tuple(sets)
        shape = (max(len(self.sets), 1), *self._of[0].totals.shape)
        self.add_state("totals", torch.zeros(shape, dtype=torch.float32, device=self.device), dist_reduce_fx="sum")
        self.reset()

    @property
    def names(self) -> frozenset[str]:
        """Names of all means that there can be."""
        of_all = self._of[0].names
        return of_all.union(*({f"{name}/{mean}" for mean in of_all} for name in self.sets))

    def update(self, values: Mapping[str, Tensor], number: int = 0) -> None:
        """Add the examples of a batch to the set with that number."""
        added = torch.zeros_like(self.totals)
        added[number if self.sets else 0] = self._of[0].sums(values)
        # Not in place, as in PairMean.
        self.totals = self.totals + added

    def compute(self) -> dict[str, Tensor]:
        """Return the means, 0-d float32 on the device; those of a set of which nothing was added are left out."""
        means = self._of[0].means(self.totals.sum(0))
        for name, sums in zip(self.sets, self.totals, strict=False):
            if sums.any():
                means.update({f"{name}/{mean}": value for mean, value in self._of[0].means(sums).items()})
        return means
