"""Optimizers and schedules of transformers, each value of `optim` and `lr_scheduler_type`."""

from __future__ import annotations

import pkgutil
from typing import Any

import pytest
import torch
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames

from dpo_lightning.cli.ways_over.optimizer import BY_STEP, OPTIMIZERS, SCHEDULE_NAMES
from dpo_lightning.errors import InputError
from dpo_lightning.training.transformers_schedule import SCHEDULES
from tests.helpers.ways_over import at, of_trl, said


@pytest.mark.parametrize("name", [each.value for each in OptimizerNames])
def test_every_optimizer_is_ours_or_refused(name: str) -> None:
    if name not in OPTIMIZERS:
        with pytest.raises(
            InputError, match=rf"optim {name} \(has no equal: leave optim out, and give model.optimizer"
        ):
            of_trl(optim=name)
        return
    written = at(of_trl(optim=name, learning_rate=1e-5, weight_decay=0.1), "model.optimizer")
    kind = pkgutil.resolve_name(written["class_path"])
    arguments = {key: value for key, value in written["init_args"].items() if key != "fused"}
    built = kind([torch.nn.Parameter(torch.ones(2))], **arguments)
    assert isinstance(built, torch.optim.Optimizer)
    assert built.param_groups[0]["lr"] == 1e-5
    assert built.param_groups[0]["weight_decay"] == 0.1


def test_adamw_has_the_defaults_of_there() -> None:
    assert at(of_trl(), "model.optimizer") == {
        "class_path": "torch.optim.AdamW",
        "init_args": {"lr": 1e-6, "weight_decay": 0.0, "betas": [0.9, 0.999], "eps": 1e-8, "fused": True},
    }
    assert "fused" not in at(of_trl(fp16=True), "model.optimizer.init_args")


def test_what_an_optimizer_does_not_read_is_told() -> None:
    draft = of_trl(optim="sgd", adam_beta1=0.8, adam_epsilon=1e-8, optim_args="a=1")
    assert said(draft, "adam_beta1") == "no effect there: the optimizer sgd does not read it"
    assert said(draft, "adam_epsilon") == ""
    assert said(draft, "optim_args").startswith("no effect there")
    assert "32 bits" in said(of_trl(optim="adamw_bnb_8bit"), "optim")


def test_names_are_those_of_transformers() -> None:
    assert {*SCHEDULE_NAMES} == {each.value for each in SchedulerType}
    assert {*BY_STEP} == {*SCHEDULES}


@pytest.mark.parametrize(
    ("fields", "written"),
    [
        ({}, ("Linear", {"warmup": 0})),
        ({"lr_scheduler_type": "cosine"}, ("Cosine", {"warmup": 0})),
        ({"lr_scheduler_type": "constant", "warmup_steps": 0}, ("Constant", None)),
        ({"warmup_steps": 0.1}, ("TransformersSchedule", {"name": "linear", "warmup": 0.1})),
        ({"warmup_steps": 150.0}, ("TransformersSchedule", {"name": "linear", "warmup": 150})),
        ({"warmup_ratio": 0.1}, ("TransformersSchedule", {"name": "linear", "warmup": 0.1})),
        ({"warmup_ratio": 0.1, "warmup_steps": 5}, ("TransformersSchedule", {"name": "linear", "warmup": 5})),
        ({"lr_scheduler_type": "inverse_sqrt"}, ("TransformersSchedule", {"name": "inverse_sqrt", "warmup": 0})),
        (
            {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.1}},
            (
                "TransformersSchedule",
                {"name": "cosine_with_min_lr", "warmup": 0, "settings": {"min_lr_rate": 0.1}},
            ),
        ),
    ],
)
def test_a_schedule_has_the_rates_of_there(fields: dict[str, Any], written: tuple[str, Any]) -> None:
    found = at(of_trl(**fields), "model.schedule")
    assert (found["class_path"], found.get("init_args")) == written


def test_a_schedule_of_a_metric_is_refused_and_a_constant_has_no_warm_up() -> None:
    for name in ("reduce_lr_on_plateau", "greedy"):
        with pytest.raises(InputError, match=f"lr_scheduler_type {name}"):
            of_trl(lr_scheduler_type=name)
    draft = of_trl(lr_scheduler_type="constant", warmup_steps=10)
    assert said(draft, "warmup_steps") == (
        "no effect there: the schedule constant has no warm-up; constant_with_warmup has"
    )
