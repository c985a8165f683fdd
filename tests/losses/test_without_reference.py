"""SimPO, AlphaPO, CPO and ORPO: limits, and odds near certainty."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from dpo_lightning.errors import InputError
from dpo_lightning.losses import CPO, DPO, ORPO, SFT, AlphaPO, CPOSimPO, SimPO
from dpo_lightning.losses.orpo import log_odds
from tests.losses.battery import some_scores


def test_alphapo_goes_over_into_simpo() -> None:
    scores = some_scores()
    alphapo, simpo = AlphaPO(beta=2.5, alpha=1e-7, gamma_beta_ratio=0.3), SimPO(beta=2.5, gamma_beta_ratio=0.3)

    torch.testing.assert_close(alphapo(scores), simpo(scores), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(alphapo.rewards(scores), simpo.rewards(scores), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.0, math.nan, math.inf])
def test_alphapo_refuses_an_alpha_without_a_shape(alpha: float) -> None:
    with pytest.raises(InputError, match=r"^AlphaPO\.alpha must be a finite number other than 0, got .*: 0 is SimPO$"):
        AlphaPO(alpha=alpha)


def test_without_its_likelihood_term_cpo_is_dpo_against_a_uniform_reference() -> None:
    scores = some_scores()
    uniform = scores._replace(reference_chosen_logps=torch.zeros(3), reference_rejected_logps=torch.zeros(3))

    assert torch.equal(CPO(beta=0.3, nll_weight=0.0)(scores), DPO(beta=0.3)(uniform))


def test_cpo_simpo_is_simpo_and_sft() -> None:
    scores = some_scores()
    joined = CPOSimPO(beta=3.0, gamma_beta_ratio=0.4, nll_weight=0.7)

    expected = SimPO(beta=3.0, gamma_beta_ratio=0.4)(scores) + 0.7 * SFT()(scores)
    torch.testing.assert_close(joined(scores), expected)


@pytest.mark.parametrize(
    ("objective", "field"),
    [(SimPO(), "gamma_beta_ratio"), (AlphaPO(), "gamma_beta_ratio"), (CPO(), "nll_weight"), (CPOSimPO(), "nll_weight")],
    ids=str,
)
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_refuses_negative_settings(objective: object, field: str, value: float) -> None:
    with pytest.raises(
        InputError, match=rf"^{type(objective).__name__}\.{field} must be a finite number of at least 0"
    ):
        replace(objective, **{field: value})  # type: ignore[type-var]


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
