"""Where the two anchors pull."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dpo_lightning.losses import apo_down, apo_zero


def gradients(loss: Callable[..., Tensor], chosen: float, rejected: float) -> list[float]:
    at = torch.tensor([[chosen], [rejected]], dtype=torch.float64, requires_grad=True)
    (result,) = torch.autograd.grad(loss(at[0], at[1], beta=0.5).sum(), at)
    return [value.item() for value in result.flatten()]


def test_zero_saturates_on_each_side_alone() -> None:
    # 0.5 sigma'(0) = 0.125; at a reward of 20 next to nothing is left.
    assert gradients(apo_zero, 0.0, 0.0) == pytest.approx([-0.125, 0.125])
    assert gradients(apo_zero, 40.0, 0.0) == pytest.approx([0, 0.125], abs=1e-8)
    assert gradients(apo_zero, 0.0, -40.0) == pytest.approx([-0.125, 0], abs=1e-8)


def test_down_lowers_the_chosen_completion_too_once_the_pair_is_settled() -> None:
    # At the start the margin's pull up cancels the anchor's pull down.
    assert gradients(apo_down, 0.0, 0.0) == pytest.approx([0, 0.125])
    settled = gradients(apo_down, 0.0, -40.0)
    assert settled == pytest.approx([0.125, 0], abs=1e-8)
