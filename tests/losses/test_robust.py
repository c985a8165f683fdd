"""Robust DPO is without bias."""

from __future__ import annotations

import pytest
import torch

from dpo_lightning.losses import dpo, robust_dpo


@pytest.mark.parametrize("flipped", [0.1, 0.3, 0.49])
def test_its_expectation_over_flipped_labels_is_the_loss_of_the_true_ones(flipped: float) -> None:
    chosen, rejected = 5 * torch.randn(2, 50, dtype=torch.float64)
    settings = {"beta": 0.5, "label_smoothing": flipped}

    expected = (1 - flipped) * robust_dpo(chosen, rejected, **settings) + flipped * robust_dpo(
        rejected, chosen, **settings
    )

    torch.testing.assert_close(expected, dpo(chosen, rejected, beta=0.5), rtol=1e-10, atol=1e-10)


def test_without_flips_it_is_dpo() -> None:
    chosen, rejected = torch.randn(2, 20)

    assert torch.equal(robust_dpo(chosen, rejected, beta=0.5, label_smoothing=0.0), dpo(chosen, rejected, beta=0.5))


def test_it_has_no_lower_bound() -> None:
    # Far out the slope is -0.1 x 0.5 / 0.8 per nat.
    margins = torch.tensor([1000.0, 2000.0], dtype=torch.float64)

    near, far = robust_dpo(margins, torch.zeros_like(margins), beta=0.5, label_smoothing=0.1)

    assert (far - near).item() == pytest.approx(-62.5)
