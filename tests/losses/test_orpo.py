"""Odds near certainty, and the weight of the odds."""

from __future__ import annotations

import math

import pytest
import torch

from dpo_lightning.errors import InputError
from dpo_lightning.losses import ORPO
from dpo_lightning.losses.orpo import log_odds


@pytest.mark.parametrize("value", [0.0, -0.1, math.nan, math.inf])
def test_orpo_refuses_a_weight_that_is_not_positive(value: float) -> None:
    with pytest.raises(InputError, match=r"^ORPO\.odds_weight must be a finite number greater than 0, got"):
        ORPO(odds_weight=value)


def test_odds_are_as_exact_in_float32_as_their_log_probs() -> None:
    logps = -torch.logspace(-6, 4, 101)
    wide = logps.double().requires_grad_()
    narrow = logps.clone().requires_grad_()
    ones = torch.ones(101, dtype=torch.int64)

    found, exact = log_odds(narrow, ones), wide - torch.log(-torch.expm1(wide))

    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        torch.autograd.grad(found.sum(), narrow)[0].double(),
        torch.autograd.grad(exact.sum(), wide)[0],
        rtol=1e-5,
        atol=0,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("logp", [0.0, -1e-9, -1e4])
def test_odds_of_the_certain_and_of_the_impossible_are_finite(logp: float, dtype: torch.dtype) -> None:
    logps = torch.tensor([logp], dtype=dtype, requires_grad=True)

    odds = log_odds(logps, torch.tensor([1]))
    odds.sum().backward()

    assert odds.isfinite().all()
    assert logps.grad is not None
    assert logps.grad.isfinite().all()
    assert odds.item() == pytest.approx(-1e4, rel=0.01) if logp == -1e4 else odds.item() > 15
