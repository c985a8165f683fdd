"""A list of modules that is never an old one."""

from __future__ import annotations

import copy

from torch import nn

from dpo_lightning.compat.torch_walk import Walked


def test_is_what_torch_walks_whatever_changes() -> None:
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


def test_of_a_copy_is_the_copys() -> None:
    model = nn.Sequential(nn.Linear(1, 1))
    walked = Walked(model)
    walked()
    copied_model, copied = copy.deepcopy((model, walked))
    copied_model.append(nn.ReLU())
    assert copied() == [*copied_model.modules()]
    assert len(walked()) == 2
