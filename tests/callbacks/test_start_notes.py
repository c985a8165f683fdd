"""The lines at the start of a run that say what its numbers will do."""

from __future__ import annotations

import re
import warnings
from functools import partial
from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, LoraConfig, VeraConfig, get_peft_model
from torch.optim import SGD, Adagrad, AdamW, RMSprop, Rprop

from dpo_lightning import Cosine, LoRA, PreferenceModule
from dpo_lightning.callbacks.start_notes import lost_updates, unallocated_ranks, vanishing_eps
from tests.helpers.runs import data, module, trainer
from tests.helpers.tiny import tiny_llama


def with_gradient(value: float, dtype: torch.dtype, gradient: float = 1.0) -> torch.nn.Parameter:
    parameter = torch.nn.Parameter(torch.full((8,), value, dtype=dtype))
    parameter.grad = torch.full_like(parameter, gradient)
    return parameter


@pytest.mark.parametrize(
    ("value", "dtype", "rate", "lost"),
    [
        (1.0, torch.bfloat16, 1e-6, True),
        (1.0, torch.bfloat16, 2**-7, False),
        (1.0, torch.bfloat16, 2**-10, True),
        (1e-4, torch.bfloat16, 1e-6, False),
        (1.0, torch.float16, 2**-13, True),
        (1.0, torch.float32, 1e-6, False),
        (0.0, torch.bfloat16, 1e-9, False),
    ],
)
def test_an_update_that_the_dtype_cannot_hold_is_lost(
    value: float, dtype: torch.dtype, rate: float, lost: bool
) -> None:
    parameter = with_gradient(value, dtype)
    found = lost_updates(AdamW([parameter], lr=rate))
    assert (found is not None) is lost

    AdamW([parameter], lr=rate, weight_decay=0.0).step()
    assert bool((parameter == torch.tensor(value, dtype=dtype)).all()) is lost


def test_an_update_of_a_gradient_has_its_size() -> None:
    assert lost_updates(SGD([with_gradient(1.0, torch.bfloat16, 1e-3)], lr=1.0)) is not None
    assert lost_updates(SGD([with_gradient(1.0, torch.bfloat16, 1.0)], lr=0.1)) is None
    assert lost_updates(SGD([with_gradient(1.0, torch.bfloat16, 0.0)], lr=0.1)) is None
    assert lost_updates(SGD([with_gradient(1.0, torch.bfloat16, 0.01)], lr=0.1, momentum=0.9)) is None


@pytest.mark.parametrize("kind", [RMSprop, Adagrad, Rprop])
def test_an_update_that_is_divided_by_the_gradient_has_the_size_of_the_rate(kind: Any) -> None:
    parameter = with_gradient(1.0, torch.bfloat16, 1e-3)
    assert lost_updates(kind([parameter], lr=1e-2)) is None
    assert lost_updates(kind([parameter], lr=1e-4)) is not None

    kind([parameter], lr=1e-2).step()
    assert bool((parameter != 1).all())


def test_an_eps_that_is_0() -> None:
    half, brain = (with_gradient(1.0, dtype) for dtype in (torch.float16, torch.bfloat16))
    assert "AdamW's eps 1e-08 is 0 in float16" in str(vanishing_eps(AdamW([half])))
    assert vanishing_eps(AdamW([half], eps=1e-4)) is None
    assert vanishing_eps(AdamW([brain])) is None
    assert vanishing_eps(SGD([half])) is None


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step")
def test_a_run_says_so_once(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    trainer(precision="bf16-true").fit(module(lr=1e-7), data(tmp_path))
    (note,) = [each for each in caplog.messages if "too coarse" in each]
    assert re.match(r"warning: precision bf16-true: \d+% of the weights are too coarse in bfloat16", note)

    caplog.clear()
    trainer(precision="bf16-true").fit(module(lr=1e-3, lora=LoRA(r=2)), data(tmp_path))
    trainer(precision="bf16-mixed").fit(module(optimizer=partial(AdamW, lr=1e-7)), data(tmp_path))
    assert "too coarse" not in caplog.text


def test_the_share_of_the_adapters_is_said(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    trainer(max_steps=1).fit(module(lora=LoRA(r=2)), data(tmp_path))
    assert ", which cover " in caplog.text
    assert "lora: the adapters cover " not in caplog.text  # said by `StartSummary`


def test_ranks_that_nobody_allocates_are_said() -> None:
    adaptive = AdaLoraConfig(target_modules=["q_proj"], total_step=10, task_type="CAUSAL_LM")
    said = str(unallocated_ranks(get_peft_model(tiny_llama(), adaptive)))
    assert said.startswith("policy: AdaLoraModel gives ranks to layers in update_and_allocate(step), which only")
    assert unallocated_ranks(get_peft_model(tiny_llama(), LoraConfig(target_modules=["q_proj"]))) is None


def notes_on_rates(path: Any, model: Any, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    trainer(max_steps=1).fit(model, data(path))
    return [each for each in caplog.messages if each.startswith("warning: learning rate")]


def test_adapters_at_the_default_rate_get_a_word(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=UserWarning, message=".*learning rate")  # ends no run
        (note,) = notes_on_rates(tmp_path, PreferenceModule(tiny_llama(), lora=LoRA(r=2)), caplog)
    assert "1e-06 is 10 times below what is usual for DPO on adapters" in note


def test_usual_rates_warm_up_and_plain_gradient_descent_get_none(
    tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert notes_on_rates(tmp_path, module(lora=LoRA(r=2), lr=1e-4, schedule=Cosine(warmup=0.9)), caplog) == []
    assert notes_on_rates(tmp_path, module(lora=LoRA(r=2), optimizer=partial(SGD, lr=1e-9)), caplog) == []
    assert notes_on_rates(tmp_path, PreferenceModule(tiny_llama()), caplog) == []


def test_adapters_of_other_kinds_and_larger_rates_of_some_groups_get_none(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    vera = get_peft_model(tiny_llama(), VeraConfig(target_modules=["q_proj"], r=2, task_type="CAUSAL_LM"))
    assert notes_on_rates(tmp_path, module(vera, lr=1e-7), caplog) == []

    def lora_plus(groups: Any) -> AdamW:
        first, *others = [parameter for group in groups for parameter in group["params"]]
        return AdamW([{"params": [first], "lr": 2e-4}, {"params": others, "lr": 3.2e-3}])

    monkeypatch.setattr("dpo_lightning.training.usual_rates._TOY", 1)  # a tiny model has no upper end

    assert notes_on_rates(tmp_path, module(lora=LoRA(r=2), optimizer=lora_plus), caplog) == []
