"""Arguments of a module that make or load something: one line for those of another kind."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW

from dpo_lightning import Constant, Cosine, LoRA, PreferenceModule
from dpo_lightning.errors import InputError
from dpo_lightning.training import check_makers, optimization
from tests.helpers.runs import fit, module

MADE = AdamW([nn.Parameter(torch.ones(1))])
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a schedule's class": ({"schedule": Cosine}, r"schedule: Cosine is a class: write Cosine\(\.\.\.\)$"),
    "a schedule's name": ({"schedule": "Cosine"}, r"schedule: 'Cosine' is no Schedule: write Constant\(\), "),
    "no schedule": ({"schedule": None}, r"schedule: None is no Schedule: write Constant\(\), "),
    "torch's schedule": (
        {"schedule": partial(torch.optim.lr_scheduler.StepLR, step_size=1)},
        r"schedule: functools\.partial\(.* is no Schedule: write Constant\(\), ",
    ),
    "an optimizer's name": (
        {"optimizer": "AdamW"},
        r"optimizer: 'AdamW' is no Callable: write .*, such as functools\.partial\(AdamW, lr=1e-6\)$",
    ),
    "no optimizer": ({"optimizer": None}, "optimizer: None is no Callable: write what"),
    "an optimizer's settings": ({"optimizer": {"lr": 1e-3}}, "optimizer: {'lr': 0.001} is no Callable: write what"),
    "an optimizer that is made": ({"optimizer": MADE}, r"optimizer: AdamW \(.* is no Callable: write what"),
    "adapters as a dict": ({"lora": {"r": 4}}, r"lora: {'r': 4} is no LoRA: write LoRA\(r=16\), with its settings"),
    "the class of adapters": ({"lora": LoRA}, r"lora: LoRA is a class: write LoRA\(\.\.\.\)$"),
    "adapters' rank": ({"lora": 4}, r"lora: 4 is no LoRA: write LoRA\(r=16\)"),
    "a dtype": ({"model_kwargs": "bf16"}, "model_kwargs: 'bf16' is no dict: write the arguments as a dict"),
    "bits": ({"quantization_config": "4bit"}, "quantization_config: '4bit' is no dict: write the arguments as a dict"),
    "no policy": ({"policy": None}, "policy: None is no Module: give a hub name, a directory or a module$"),
    "a path": ({"policy": Path("some/model")}, r"policy: PosixPath\('some/model'\) is no Module: write 'some/model'$"),
    "a policy's class": ({"policy": nn.Linear}, r"policy: Linear is a class: write Linear\(\.\.\.\)$"),
}


@pytest.mark.parametrize(("given", "message"), REFUSED.values(), ids=REFUSED)
def test_another_kind_of_argument_is_refused_where_it_is_given(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match="^" + message):
        PreferenceModule(**{"policy": "some/model", **given})


@pytest.mark.parametrize("optimizer", [SGD, partial(SGD, lr=0.1), lambda params: SGD(params, lr=0.1)])
def test_whatever_makes_an_optimizer_is_taken(optimizer: Any) -> None:
    check_makers(optimizer, Constant())


@pytest.mark.parametrize(("schedule", "expected"), [(Constant(), SGD), (Constant(warmup=1), dict)])
def test_a_schedule_that_makes_nothing_is_left_out(schedule: Any, expected: type, tmp_path: Path) -> None:
    model = module(optimizer=partial(SGD, lr=0.1), schedule=schedule)
    run, _ = fit(tmp_path, model, max_steps=2)
    assert isinstance(optimization(model, partial(SGD, lr=0.1), schedule), expected)
    assert len(run.lr_scheduler_configs) == (expected is dict)


@pytest.mark.parametrize("given", ["false", None, 0])
def test_a_switch_is_true_or_false(given: Any) -> None:
    with pytest.raises(InputError, match=r"^step_zero_check must be true or false, got"):
        PreferenceModule("some/model", step_zero_check=given)
