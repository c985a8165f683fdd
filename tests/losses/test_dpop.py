"""DPOP's penalty."""

from __future__ import annotations

import torch

from dpo_lightning.losses import dpo, dpop


def test_the_penalty_acts_only_where_the_chosen_completion_fell() -> None:
    chosen, rejected = torch.randn(2, 50, dtype=torch.float64)
    fell = chosen < 0
    assert fell.any()
    assert not fell.all()

    with_penalty, without = dpop(chosen, rejected, beta=0.3, penalty=50.0), dpo(chosen, rejected, beta=0.3)

    torch.testing.assert_close(with_penalty[~fell], without[~fell])
    assert (with_penalty[fell] > without[fell]).all()


def test_a_nat_lost_on_the_chosen_completion_costs_the_penalty_as_margin() -> None:
    # -0.1 - 0 - 50 x 0.1 = -5.1.
    losses = dpop(torch.tensor([-0.1]), torch.zeros(1), beta=0.3, penalty=50.0)

    torch.testing.assert_close(losses, dpo(torch.tensor([-5.1]), torch.zeros(1), beta=0.3))
