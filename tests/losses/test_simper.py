"""Inverse perplexities."""

from __future__ import annotations

import pytest
import torch

from dpo_lightning.losses import simper


def test_its_gradient_is_the_likelihood_of_a_token_over_the_length() -> None:
    chosen, rejected = (torch.tensor([value], dtype=torch.float64, requires_grad=True) for value in (-4.0, -6.0))
    loss = simper(chosen, rejected, torch.tensor([4]), torch.tensor([2]))
    loss.sum().backward()

    assert loss.item() == pytest.approx(-0.36787944117144233 + 0.049787068367863944, rel=1e-12)  # e^-1, e^-3
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert chosen.grad.item() == pytest.approx(-0.36787944117144233 / 4, rel=1e-12)
    assert rejected.grad.item() == pytest.approx(0.049787068367863944 / 2, rel=1e-12)
