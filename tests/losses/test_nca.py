"""NCA holds the chosen completion's reward up."""

from __future__ import annotations

import math

import pytest
import torch

from dpo_lightning.losses import nca


def test_the_chosen_reward_alone_is_pulled_to_ln_2() -> None:
    # d/dr [softplus(-r) + softplus(r) / 2] = sigma(r) - 1 + sigma(r) / 2 is 0 at sigma(r) = 2/3.
    chosen = torch.tensor([math.log(2) / 0.1], dtype=torch.float64, requires_grad=True)

    nca(chosen, torch.tensor([-3.0], dtype=torch.float64), beta=0.1).sum().backward()

    assert chosen.grad is not None
    assert chosen.grad.item() == pytest.approx(0, abs=1e-15)
