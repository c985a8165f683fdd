"""SPPO regresses each log-ratio by itself."""

from __future__ import annotations

import pytest
import torch

from dpo_lightning.losses import sppo


def test_noisy_wins_have_the_target_of_the_paper() -> None:
    # arXiv:2405.00675 equation 4.5: log-ratio = eta (P - 1/2), here with eta = 1 / beta = 10 and P = 0.8.
    ratio = torch.tensor([3.0], dtype=torch.float64, requires_grad=True)
    other = torch.zeros_like(ratio)

    (0.8 * sppo(ratio, other, beta=0.1) + 0.2 * sppo(other, ratio, beta=0.1)).sum().backward()

    assert ratio.grad is not None
    assert ratio.grad.item() == pytest.approx(0, abs=1e-12)


def test_a_completion_is_pulled_whatever_the_other_one_does() -> None:
    # 2 (rho - 1 / (2 beta)) with beta 0.25: 2 (3 - 2), for each rejected completion.
    chosen = torch.full((3,), 3.0, requires_grad=True)

    sppo(chosen, torch.tensor([-100.0, 0.0, 100.0]), beta=0.25).sum().backward()

    assert chosen.grad is not None
    assert chosen.grad.tolist() == [2.0, 2.0, 2.0]
