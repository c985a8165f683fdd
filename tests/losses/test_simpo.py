"""SimPO, and AlphaPO, which goes over into it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from dpo_lightning.errors import InputError
from dpo_lightning.losses import AlphaPO, SimPO
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


@pytest.mark.parametrize("objective", [SimPO(), AlphaPO()], ids=str)
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_refuses_a_target_below_0(objective: SimPO | AlphaPO, value: float) -> None:
    with pytest.raises(
        InputError, match=rf"^{type(objective).__name__}\.gamma_beta_ratio must be a finite number of at least 0"
    ):
        replace(objective, gamma_beta_ratio=value)


def test_a_completion_told_twice_is_worth_as_much() -> None:
    scores = some_scores()
    twice = scores._replace(
        policy_rejected_logps=2 * scores.policy_rejected_logps, rejected_lengths=2 * scores.rejected_lengths
    )

    for objective in (SimPO(), AlphaPO()):
        torch.testing.assert_close(objective(twice), objective(scores), rtol=1e-12, atol=0)
