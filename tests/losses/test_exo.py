"""EXO is a KL divergence."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Bernoulli, kl_divergence

from dpo_lightning.errors import InputError
from dpo_lightning.losses import EXO, exo


def test_it_is_the_divergence_of_the_policy_from_the_label() -> None:
    chosen, rejected = 3 * torch.randn(2, 50, dtype=torch.float64)
    policy = Bernoulli(logits=0.5 * (chosen - rejected), validate_args=False)

    expected = kl_divergence(policy, Bernoulli(torch.tensor(0.9, dtype=torch.float64)))

    torch.testing.assert_close(exo(chosen, rejected, beta=0.5, label_smoothing=0.1), expected, rtol=1e-9, atol=1e-12)


def test_it_is_zero_where_the_policy_is_as_sure_as_the_label_and_pulls_back_beyond() -> None:
    sure = math.log(9) / 0.5  # sigma(0.5 margin) = 0.9
    margins = torch.tensor([sure - 1, sure, sure + 1], dtype=torch.float64, requires_grad=True)

    losses = exo(margins, torch.zeros_like(margins), beta=0.5, label_smoothing=0.1)
    losses.sum().backward()

    assert losses[1].item() == pytest.approx(0, abs=1e-15)
    assert margins.grad is not None
    assert margins.grad[0] < 0
    assert margins.grad[1].item() == pytest.approx(0, abs=1e-15)
    assert margins.grad[2] > 0


@pytest.mark.parametrize("share", [0.0, 0.5, -0.1, math.nan])
def test_refuses_a_label_without_a_finite_divergence(share: float) -> None:
    with pytest.raises(InputError, match=r"^EXO\.label_smoothing must be in \(0, 0\.5\), got"):
        EXO(label_smoothing=share)
