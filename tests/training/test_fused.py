"""The kernel of an optimizer: chosen where it is left open, kept where it was asked for, and none of the settings."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW

from dpo_lightning.checkpoints.optimizers import Asked, other_settings
from dpo_lightning.training import fused
from dpo_lightning.training.fused import is_chosen, with_kernel


@pytest.fixture
def as_on_gpu(monkeypatch):
    monkeypatch.setattr(fused, "on_gpu", torch.is_floating_point)


def made(kind: Any = AdamW, **settings: Any) -> Any:
    return with_kernel(kind([{"params": [nn.Parameter(torch.ones(3, 2))]}], lr=0.1, **settings))


def step(optimizer: Any) -> torch.Tensor:
    (weight,) = optimizer.param_groups[0]["params"]
    weight.grad = torch.linspace(-1, 1, 6).view(3, 2)
    optimizer.step()
    return weight.detach().clone()


@pytest.mark.parametrize("kind", [Adam, AdamW])
def test_what_is_left_open_is_as_if_fused_had_been_asked_for(as_on_gpu, kind):
    optimizer = kind([nn.Parameter(torch.ones(3, 2))], lr=0.1, amsgrad=True)
    called = []
    optimizer.register_step_post_hook(lambda *_: called.append(1))
    assert with_kernel(optimizer) is optimizer
    asked = kind([nn.Parameter(torch.ones(3, 2))], lr=0.1, amsgrad=True, fused=True)
    assert torch.equal(step(optimizer), step(asked))
    assert vars(optimizer).keys() == vars(asked).keys()
    assert (optimizer.defaults, called) == (asked.defaults, [1])


def test_what_was_asked_for_stays(as_on_gpu):
    class Own(AdamW):
        pass

    for settings in ({"foreach": True}, {"fused": False}, {"foreach": False}, {"capturable": True}):
        optimizer = made(**settings)
        assert not is_chosen(optimizer)
        assert not optimizer.param_groups[0]["fused"]
    assert [made(kind).param_groups[0]["fused"] for kind in (SGD, Own)] == [None, None]
    assert made(fused=True).param_groups[0]["fused"] is True


def test_on_the_cpu_and_on_two_devices_the_kernel_is_torchs_own(monkeypatch):
    assert made().param_groups[0]["fused"] is None
    mixed = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))]
    monkeypatch.setattr(fused, "on_gpu", lambda each: each is mixed[0])
    assert with_kernel(AdamW(mixed)).param_groups[0]["fused"] is None


@pytest.mark.parametrize("saved_fused", [False, True])
def test_a_state_goes_on_by_the_kernel_of_now(monkeypatch, saved_fused):
    runs = []
    for now_fused in (False, True):
        monkeypatch.setattr(fused, "on_gpu", lambda each: saved_fused)
        before = made()
        step(before)
        monkeypatch.setattr(fused, "on_gpu", lambda each: now_fused)  # noqa: B023
        after = made()
        after.load_state_dict(copy.deepcopy(before.state_dict()))
        (weight,) = after.param_groups[0]["params"]
        weight.data.copy_(before.param_groups[0]["params"][0].data)
        assert (after.param_groups[0]["fused"] is True) == now_fused
        assert before.state_dict()["param_groups"][0]["fused"] is (True if saved_fused else None)
        runs.append((step(after), step(before)))
    for found, expected in runs:
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    assert torch.equal(*runs[saved_fused])  # the same kernel: bit for bit


def test_a_chosen_kernel_is_no_setting_that_a_resumed_run_must_have(monkeypatch):
    def asked(make: Any = made, *, on_gpu: bool) -> Asked:
        monkeypatch.setattr(fused, "on_gpu", lambda each: on_gpu)
        optimizer = make()
        groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
        return Asked(optimizer, groups, [], [0.1])

    before = asked(on_gpu=False).plain()
    assert list(other_settings(asked(on_gpu=True), before)) == []
    assert asked(on_gpu=True).plain() == before
    ((place, difference),) = other_settings(asked(partial(made, fused=True), on_gpu=True), before)
    assert (place, str(difference.name), difference.now) == (0, "optimizer.fused", True)
