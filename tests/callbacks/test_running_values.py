"""Sums of metrics in a checkpoint."""

from __future__ import annotations

import torch
from torch import nn
from torchmetrics import CatMetric, MeanMetric

from dpo_lightning.callbacks.running_values import metric_states, set_metric_states


class Holds(nn.Module):
    """Metrics of both kinds of state."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.values = MeanMetric(), CatMetric()


def test_sums_and_lists_go_on():
    module, again = Holds(), Holds()
    for value in (1.0, 3.0):
        module.mean.update(value)
        module.values.update(value)
    states = metric_states(module)
    module.mean.update(100.0)
    module.values.update(100.0)
    set_metric_states(again, states)
    assert again.mean.compute() == 2
    assert torch.equal(again.values.compute(), torch.tensor([1.0, 3.0]))
    assert again.mean.update_count == 2


def test_what_is_reported_begins_anew_and_stays_as_it_is():
    module = Holds()
    module.mean.update(3.0)
    states = metric_states(module, {"mean"})
    assert states["mean"]["updates"] == 0
    assert states["mean"]["mean_value"] == 0
    assert module.mean.compute() == 3


def test_a_metric_that_is_gone_is_left_out():
    module = Holds()
    module.mean.update(3.0)
    states = metric_states(module)
    del module.mean
    set_metric_states(module, states)
