"""Calibrated DPO is at rest nowhere: at the calibrated rewards its contrast alone acts."""

from __future__ import annotations

import math

import pytest
import torch

from dpo_lightning.losses import cal_dpo


def gradients(chosen: float, rejected: float, beta: float) -> list[float]:
    ratios = torch.tensor([[chosen], [rejected]], dtype=torch.float64, requires_grad=True)
    (by_ratios,) = torch.autograd.grad(cal_dpo(*ratios, beta=beta).sum(), ratios)
    return by_ratios.flatten().tolist()


def test_at_the_calibrated_rewards_only_the_contrast_pulls() -> None:
    # beta 0.5: the squares are at their minimum where the log-ratios are 1 and -1; the contrast has the margin 2.
    force = 1 / (1 + math.exp(2))

    assert gradients(1.0, -1.0, beta=0.5) == pytest.approx([-force, force], rel=1e-12)


def test_a_chosen_likelihood_that_falls_is_pulled_up_where_dpo_is_content() -> None:
    # Log-ratios -100 and -200: the contrast is satisfied, e^-100; the squares pull by 2 x (-100 - 1), 2 x (-200 + 1).
    assert gradients(-100.0, -200.0, beta=0.5) == pytest.approx([-202.0, -398.0], rel=1e-12)
