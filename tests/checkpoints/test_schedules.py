"""Schedules that a run goes on with: settings in plain types, and steps that are taken anew."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    MultiStepLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from dpo_lightning.checkpoints.schedules import (
    asked_state,
    depends_on_steps,
    is_plain,
    other_settings_of,
    schedule_settings,
    steps_taken,
    take_steps,
)
from dpo_lightning.checkpoints.settings import Difference


def optimizer(rate=0.1):
    return SGD([torch.ones(1, requires_grad=True)], lr=rate)


def both(gamma):
    made = optimizer()
    return SequentialLR(made, [ExponentialLR(made, 0.9), ExponentialLR(made, gamma)], [3])


@pytest.mark.parametrize(
    ("before", "now", "name"),
    [
        (lambda: StepLR(optimizer(), 2, 0.5), lambda: StepLR(optimizer(0.7), 2, 0.9), "schedule.gamma"),
        (lambda: CosineAnnealingLR(optimizer(), 5), lambda: CosineAnnealingLR(optimizer(), 9), "schedule.T_max"),
        (lambda: MultiStepLR(optimizer(), [2, 4]), lambda: MultiStepLR(optimizer(), [3, 4]), "schedule.milestones"),
        (lambda: both(0.5), lambda: both(0.7), "schedule._schedulers.1.gamma"),
    ],
)
def test_a_setting_that_differs_is_named_and_a_rate_is_none(before, now, name):
    held = schedule_settings(before())
    assert other_settings_of(before(), held) == []
    assert [each.name for each in other_settings_of(now(), held)] == [name]


def test_functions_are_no_settings():
    held = schedule_settings(LambdaLR(optimizer(), lambda step: 2))
    assert other_settings_of(LambdaLR(optimizer(), lambda step: 1), held) == []
    assert is_plain([1, (None, "x")])
    assert not is_plain([torch.ones(1)])


def test_one_that_waits_for_a_metric_takes_the_settings_alone():
    scheduler = ReduceLROnPlateau(optimizer(), factor=0.9)
    held = schedule_settings(ReduceLROnPlateau(optimizer(), factor=0.5))
    assert other_settings_of(scheduler, held) == [Difference("schedule.factor", 0.5, 0.9)]
    assert asked_state(scheduler, {"schedule.factor"}) == {"factor": 0.9}
    assert not depends_on_steps(scheduler)
    take_steps(scheduler, 3)
    assert scheduler.last_epoch == 0


def test_others_are_stepped():
    scheduler = StepLR(optimizer(), 1, gamma=0.5)
    take_steps(scheduler, 2)
    assert scheduler.get_last_lr() == [0.025]


@pytest.mark.parametrize(("interval", "frequency", "steps"), [("step", 1, 12), ("step", 5, 2), ("epoch", 1, 3)])
def test_steps_are_those_of_its_interval(interval, frequency, steps):
    scheduler = StepLR(optimizer(), 1)
    config = SimpleNamespace(scheduler=scheduler, interval=interval, frequency=frequency)
    trainer = SimpleNamespace(lr_scheduler_configs=[config], global_step=12, current_epoch=3)
    assert steps_taken(trainer, scheduler) == steps
    assert steps_taken(trainer, object()) == 12
