"""The learning rate that a tuner finds is the one that trains."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from torch.optim import SGD

from dpo_lightning import PreferenceModule
from tests.helpers.runs import fit, module
from tests.helpers.tiny import tiny_llama


class Own(PreferenceModule):
    """Has a learning rate of its own, before and after the constructor."""

    def __init__(self, policy: Any) -> None:
        self.lr = 0.3
        super().__init__(policy, optimizer=partial(SGD, lr=0.1))
        self.lr = 0.5


def test_it_is_the_optimizers_until_it_is_set(tmp_path):
    model = module(optimizer=partial(SGD, lr=0.25))
    assert model.lr == 0.25
    model.lr = 0.01
    run, _ = fit(tmp_path, model, max_steps=1)
    assert (model.lr, {group["lr"] for group in run.optimizers[0].param_groups}) == (0.01, {0.01})


def test_that_of_a_subclass_is_its_own_until_a_tuner_sets_it(tmp_path):
    model = Own(tiny_llama())
    assert model.lr == 0.5
    run, _ = fit(tmp_path, model, max_steps=1)
    assert {group["lr"] for group in run.optimizers[0].param_groups} == {0.1}
    model.lr = 0.01
    model.step_zero_check = False
    again, _ = fit(tmp_path, model, max_steps=1)
    assert {group["lr"] for group in again.optimizers[0].param_groups} == {0.01}


def test_an_optimizer_that_does_not_say_has_none():
    model = module(optimizer=lambda parameters: 1 / 0)
    assert not hasattr(model, "lr")
    with pytest.raises(AttributeError, match="no learning rate that is known before the run: division by zero"):
        _ = model.lr
