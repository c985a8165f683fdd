"""What the losses share."""

from __future__ import annotations

import pytest
import torch

from dpo_lightning.losses.precision import expm1_with_straight_tail


def test_the_exponential_is_exact_up_to_30_nats_and_its_tangent_beyond() -> None:
    exponents = torch.tensor([-1e4, -1.0, 1e-9, 29.0, 31.0, 130.0], dtype=torch.float64)

    top = torch.tensor(30.0, dtype=torch.float64).exp()
    expected = torch.stack([*exponents[:4].expm1(), 2 * top, 101 * top])

    torch.testing.assert_close(expm1_with_straight_tail(exponents), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("exponent", "slope"), [(2.0, 2.0), (30.0, 30.0), (31.0, 30.0), (1e4, 30.0)])
def test_its_slope_never_vanishes_nor_overflows(exponent: float, slope: float) -> None:
    at = torch.tensor(exponent, requires_grad=True)

    expm1_with_straight_tail(at).backward()

    torch.testing.assert_close(at.grad, torch.tensor(slope).exp())
