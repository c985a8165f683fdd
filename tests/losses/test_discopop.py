"""DiscoPOP's hump, and its exponential."""

from __future__ import annotations

import pytest
import torch

from dpo_lightning.errors import InputError
from dpo_lightning.losses import DiscoPOP, discopop


def test_it_is_the_papers_blend() -> None:
    margins = torch.linspace(-20, 20, 200, dtype=torch.float64)
    x = 0.05 * margins
    modulation = torch.sigmoid(x / 0.05)

    blend = (1 - modulation) * torch.log1p(torch.exp(-x)) + modulation * torch.exp(-x)

    torch.testing.assert_close(
        discopop(margins, torch.zeros_like(margins), beta=0.05, tau=0.05), blend, rtol=1e-12, atol=0
    )


def test_it_has_the_papers_local_minimum() -> None:
    # The paper reports it at a log-ratio margin of -2.3714 for beta = tau = 0.05.
    margins = torch.linspace(-4, 1, 50_001, dtype=torch.float64)

    losses = discopop(margins, torch.zeros_like(margins), beta=0.05, tau=0.05)

    assert margins[losses.argmin()].item() == pytest.approx(-2.3714, abs=2e-4)


def test_a_tau_whose_exponential_overflows_is_refused() -> None:
    with pytest.raises(InputError, match=r"^DiscoPOP\.tau must be at most 1, got 2\.0"):
        DiscoPOP(tau=2.0)
