"""What is below a module, walked once."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torchmetrics import MeanMetric, Metric

from dpo_lightning.compat.modules import Walked, forget_walk, modules_of_kind, parameters_of


class Tied(nn.Module):
    """A weight and a module that are there twice, and a metric."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2, bias=False)])
        self.again, self.first = self.layers[0], MeanMetric()
        self.layers[1].weight = self.layers[0].weight
        self.scale = nn.Parameter(torch.ones(1))


CHANGES: dict[str, Callable[[Tied], object]] = {
    "nothing": lambda module: None,
    "another": lambda module: setattr(module, "second", MeanMetric()),
    "replaced": lambda module: setattr(module, "first", MeanMetric()),
    "taken away": lambda module: delattr(module, "first"),
    "none": lambda module: setattr(module, "first", None),
    "below": lambda module: module.layers[1].add_module("own", MeanMetric()),
    "before the others": lambda module: module.layers.insert(0, MeanMetric()),
    "another name": lambda module: module.layers.add_module("last", module._modules.pop("first")),
    "a new weight": lambda module: setattr(module.layers[1], "weight", nn.Parameter(torch.ones(2, 2))),
    "no weight": lambda module: setattr(module.layers[0], "bias", None),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_walk_is_that_of_now(change: Callable[[Tied], object]) -> None:
    module = Tied()
    for late in (False, True):
        if late:
            change(module)
        found = [(name, id(each)) for name, each in modules_of_kind(module, Metric)]  # two metrics are never unequal
        assert found == [(name, id(each)) for name, each in module.named_modules() if isinstance(each, Metric)]
        assert list(parameters_of(module)) == list(map(id, module.parameters()))


def test_the_module_itself_is_found() -> None:
    metric = MeanMetric()
    ((name, found),) = modules_of_kind(metric, Metric)
    assert name == ""
    assert found is metric


def test_a_walk_keeps_no_module_alive() -> None:
    module, holding = Tied(), Tied()
    holding.layers[0].owner = [holding]
    there = weakref.ref(module), weakref.ref(holding)
    for each in (module, holding):
        modules_of_kind(each, Metric)
    forget_walk(holding)
    del module, holding, each
    gc.collect()
    assert [each() for each in there] == [None, None]


def test_the_list_of_modules_is_what_torch_walks_whatever_changes() -> None:
    inner = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    model = nn.Sequential(inner, nn.Linear(1, 1), inner)
    walked = Walked(model)
    assert walked() is walked()
    for change in (
        lambda: inner.append(nn.Dropout(0.1)),
        lambda: inner[2].add_module("under", nn.Tanh()),
        lambda: setattr(model, "1", nn.Identity()),
        lambda: inner.__delitem__(0),
        lambda: model.pop(0),
    ):
        change()
        assert walked() == [*model.modules()]


def test_the_list_of_a_copy_is_the_copys() -> None:
    model = nn.Sequential(nn.Linear(1, 1))
    walked = Walked(model)
    walked()
    copied_model, copied = copy.deepcopy((model, walked))
    copied_model.append(nn.ReLU())
    assert copied() == [*copied_model.modules()]
    assert len(walked()) == 2
