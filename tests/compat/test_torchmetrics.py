"""A metric can be told its updates, and keeps its precision."""

from __future__ import annotations

import torch
from torch import nn
from torchmetrics import SumMetric

from dpo_lightning.compat.torchmetrics import Float32Metric, set_update_count


def test_a_metric_counts_its_updates_and_stays_float32() -> None:
    metric = SumMetric()
    set_update_count(metric, 3)
    assert metric.update_count == 3

    class Sums(Float32Metric):
        def __init__(self) -> None:
            super().__init__()
            self.add_state("total", torch.zeros(1), dist_reduce_fx="sum")

        def update(self) -> None: ...

        def compute(self) -> None: ...

    both = nn.ModuleList([Sums()]).to(torch.bfloat16)
    assert both[0].total.dtype == torch.float32
