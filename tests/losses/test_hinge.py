"""The hinge is SLiC's loss, and lets go of what is won."""

from __future__ import annotations

import pytest
import torch

from dpo_lightning.losses import hinge

CHOSEN, REJECTED = torch.tensor([[7.0, 0.5, -3.0], [1.0, 0.5, 1.0]], dtype=torch.float64)


def test_in_nats_it_is_the_rank_loss_of_slic() -> None:
    # max(0, delta - log p_w + log p_l) of arXiv:2305.10425, with delta = 1 / beta = 4: 4 - 6, 4 - 0, 4 + 4.
    assert (4 * hinge(CHOSEN, REJECTED, beta=0.25)).tolist() == [0.0, 4.0, 8.0]


def test_a_pair_beyond_the_margin_has_no_gradient() -> None:
    chosen = torch.tensor([9.9, 10.1], requires_grad=True)

    hinge(chosen, torch.zeros(2), beta=0.1).sum().backward()

    assert chosen.grad is not None
    assert chosen.grad.tolist() == pytest.approx([-0.1, 0.0])
