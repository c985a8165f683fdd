"""The margin that IPO comes to."""

from __future__ import annotations

import pytest
import torch

from dpo_lightning.losses import ipo


@pytest.mark.parametrize(("agreement", "margin"), [(1.0, 5.0), (0.7, 2.0), (0.5, 0.0)])
def test_labels_that_disagree_have_a_smaller_margin_as_their_target(agreement: float, margin: float) -> None:
    # p (m - a)^2 + (1 - p) (-m - a)^2 with a = 1 / (2 tau) is smallest at m = a (2 p - 1) = (p - 1/2) / tau.
    found = torch.tensor([margin], dtype=torch.float64, requires_grad=True)
    none = torch.zeros_like(found)

    (agreement * ipo(found, none, tau=0.1) + (1 - agreement) * ipo(none, found, tau=0.1)).sum().backward()

    assert found.grad is not None
    assert found.grad.item() == pytest.approx(0, abs=1e-12)


def test_a_margin_beyond_the_target_is_drawn_back() -> None:
    chosen = torch.tensor([4.0, 5.0, 6.0], requires_grad=True)

    ipo(chosen, torch.zeros(3), tau=0.1).sum().backward()

    assert chosen.grad is not None
    assert chosen.grad.tolist() == [-2.0, 0.0, 2.0]
