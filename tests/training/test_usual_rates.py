"""Learning rates of published runs pass, and those that are far off are named."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adadelta, Adafactor, Adam, AdamW, Muon

from dpo_lightning import DPO, ORPO, SFT
from dpo_lightning.losses import WPO, PerToken, Weighted
from dpo_lightning.training.usual_rates import adam_rates, unusual_rate, usual_rates, usual_rates_of

# Method, rate, billions of parameters, adapters: as the papers have them.
PUBLISHED = [
    ("DPO", 1e-6, 2.8, False),
    ("DPO", 5e-7, 7, False),
    ("DPO", 2e-7, 70, False),
    ("SimPO", 3e-7, 8, False),
    ("KTO", 5e-6, 8, False),
    ("ORPO", 8e-6, 2.7, False),
    ("SFT", 2e-5, 7, False),
    ("DPO", 5e-6, 7, True),
    ("DPO", 2e-4, 7, True),
    ("DPO", 7e-4, 0.0001, False),
    ("DPO", 1e-5, 0.124, False),
]


@pytest.mark.parametrize(("objective", "rate", "billions", "adapted"), PUBLISHED)
def test_what_was_published_is_usual(objective: str, rate: float, billions: float, adapted: bool) -> None:
    usual = usual_rates(objective, adapted=adapted, parameters=int(billions * 1e9))
    assert unusual_rate(rate, usual, objective, adapted=adapted) is None


@pytest.mark.parametrize(
    ("objective", "rate", "billions", "adapted", "said"),
    [
        ("DPO", 1e-6, 0.5, True, "1e-06 is 10 times below what is usual for DPO on adapters (1e-05 to 0.0002)"),
        ("DPO", 1e-6, 0.0003, True, "1e-06 is 10 times below what is usual for DPO on adapters (1e-05 up)"),
        ("DPO", 2e-4, 8, False, "0.0002 is 40 times above what is usual for DPO on all weights (2e-07 to 5e-06)"),
        ("SimPO", 1e-8, 8, False, "1e-08 is 20 times below what is usual for SimPO on all weights"),
        ("SFT", 1e-7, 8, False, "1e-07 is 10 times below what is usual for SFT on all weights (1e-06 to 2e-05)"),
        ("DPO", 3e-3, 8, True, "0.003 is 15 times above"),
        ("DPO", 1e-3, 0.124, False, "0.001 is 70 times above"),  # 5e-6 x sqrt(1 / 0.124) = 1.4e-5
    ],
)
def test_a_rate_that_is_far_off_is_named(
    objective: str, rate: float, billions: float, adapted: bool, said: str
) -> None:
    usual = usual_rates(objective, adapted=adapted, parameters=int(billions * 1e9))
    note = unusual_rate(rate, usual, objective, adapted=adapted)
    assert note is not None
    assert note.startswith(f"learning rate {said}")
    assert "model.optimizer.init_args.lr" in note
    assert "\n" not in note


def test_a_rate_of_0_is_meant() -> None:
    assert unusual_rate(0.0, usual_rates("DPO", adapted=True, parameters=10**9), "DPO", adapted=True) is None


class MySFT(SFT):
    """A subclass of a user's."""


@pytest.mark.parametrize(
    ("objective", "of"),
    [(MySFT(), "SFT"), (WPO(ORPO()), "ORPO"), (WPO(PerToken(DPO())), "DPO"), (DPO(), "DPO")],
)
def test_subclasses_and_wrappers_have_the_rates_of_what_they_are(objective: Any, of: str) -> None:
    found = usual_rates_of(objective, adapted=False, parameters=7_000_000_000)
    assert found == usual_rates(of, adapted=False, parameters=7_000_000_000)


def test_a_sum_has_the_rates_of_all_its_parts() -> None:
    found = usual_rates_of(Weighted([DPO(), SFT()], [1.0, 1.0]), adapted=False, parameters=7_000_000_000)
    assert found == (2e-7, 2e-5)


class ProdigyLike(AdamW):
    """An optimizer that multiplies the rate, usually 1, by a step size that it finds."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__([{"params": params, "d": 1e-6, "d_coef": 1.0}], lr=lr)


class Mine(Adam):
    """An Adam by its base."""


@pytest.mark.parametrize("kind", [Muon, Adadelta, Adafactor, SGD, ProdigyLike])
def test_optimizers_of_other_usual_rates_have_none_to_judge(kind: Any) -> None:
    assert adam_rates(kind([nn.Parameter(torch.zeros(2, 2))], lr=1.0)) == []


@pytest.mark.parametrize("kind", [Adam, AdamW, Mine])
def test_of_an_adam_the_rates_after_warm_up_are_judged(kind: Any) -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(2))], "lr": rate} for rate in (1e-5, 1e-4)]
    optimizer = kind(groups)
    optimizer.param_groups[1].update(lr=0.0, initial_lr=1e-4)
    assert adam_rates(optimizer) == [1e-5, 1e-4]
