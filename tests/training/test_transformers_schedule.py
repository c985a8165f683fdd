"""Schedules of transformers: the rates of its own Trainer, and of a run of ours."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import TrainingArguments, get_scheduler
from transformers.trainer_utils import SchedulerType

from dpo_lightning import TransformersSchedule
from dpo_lightning.errors import InputError
from dpo_lightning.training.transformers_schedule import SCHEDULES

SETTINGS = {
    "cosine_with_min_lr": {"min_lr_rate": 0.1},
    "cosine_warmup_with_min_lr": {"min_lr_rate": 0.1},
    "warmup_stable_decay": {"num_decay_steps": 4},
    "polynomial": {"power": 2.0},
}


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.zeros(1)], lr=0.5)


def rates(scheduler: torch.optim.lr_scheduler.LRScheduler, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warmup", [3, 0.25])
def test_the_rates_are_those_of_transformers(name: str, warmup: float, tmp_path: Path) -> None:
    steps = 12
    arguments = TrainingArguments(str(tmp_path), warmup_steps=warmup, use_cpu=True)
    there = get_scheduler(name, optimizer(), arguments.get_warmup_steps(steps), steps, dict(SETTINGS.get(name, {})))
    here = TransformersSchedule(name, warmup, SETTINGS.get(name, {}))(optimizer(), steps)
    assert here is not None
    assert rates(here, steps) == rates(there, steps)


def test_all_but_those_of_a_metric_are_there() -> None:
    assert {each.value for each in SchedulerType} - {*SCHEDULES} <= {"reduce_lr_on_plateau", "greedy"}


def test_what_is_no_schedule_is_refused() -> None:
    for arguments, line in (
        (("greedy",), "no schedule greedy of the step; there are linear"),
        (("linear", 1.5), "a fraction below 1"),
        (("linear", -1), "a fraction below 1"),
        (("linear", 0, {"floor": 1}), "the schedule linear of transformers has no floor"),
    ):
        with pytest.raises(InputError, match=line):
            TransformersSchedule(*arguments)
    with pytest.raises(InputError, match="needs an end"):
        TransformersSchedule("linear")(optimizer(), float("inf"))
    with pytest.raises(InputError, match=r"schedule\.settings of cosine_with_min_lr"):
        TransformersSchedule("cosine_with_min_lr", 0, {"min_lr": 0.1, "min_lr_rate": 0.1})(optimizer(), 5)
