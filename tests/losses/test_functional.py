"""Each loss at points worked out by hand, against plain python, and its symmetries."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import jaxtyping
import pytest
import torch
from torch import Tensor

from dpo_lightning.losses.functional import dpo, hinge, ipo, sft

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "dpo": partial(dpo, beta=0.5),
    "cdpo": partial(dpo, beta=0.5, label_smoothing=0.1),
    "ipo": partial(ipo, tau=0.25),
    "hinge": partial(hinge, beta=0.5),
}
# What a loss says about one margin, in plain python and double precision.
PLAIN: dict[str, Callable[[float], float]] = {
    "dpo": lambda margin: math.log1p(math.exp(-0.5 * margin)),
    "cdpo": lambda margin: 0.9 * math.log1p(math.exp(-0.5 * margin)) + 0.1 * math.log1p(math.exp(0.5 * margin)),
    "ipo": lambda margin: (margin - 2) ** 2,
    "hinge": lambda margin: max(0.0, 1 - 0.5 * margin),
}
every_loss = pytest.mark.parametrize("name", LOSSES)


def test_dpo_by_hand() -> None:
    # beta 0.5 and the margins 3 - 1 = 2, 1 - 1 = 0, -1 - 1 = -2: the loss is log(1 + e^-1), ln 2, log(1 + e^1).
    losses = dpo(torch.tensor([3.0, 1.0, -1.0]), torch.tensor([1.0, 1.0, 1.0]), beta=0.5)

    assert losses.tolist() == pytest.approx([0.3132616875182228, 0.6931471805599453, 1.3132616875182228])


def test_dpo_with_smoothed_labels_by_hand() -> None:
    # beta 0.5, margin 2: 0.9 log(1 + e^-1) + 0.1 log(1 + e) = 0.3132616875 + 0.1 (1.3132616875 - 0.3132616875).
    losses = dpo(torch.tensor([3.0]), torch.tensor([1.0]), beta=0.5, label_smoothing=0.1)

    assert losses.item() == pytest.approx(0.4132616875182228)


def test_smoothed_labels_put_the_minimum_where_the_model_is_as_sure_as_the_labels() -> None:
    # sigma(beta margin) = 1 - 0.1 at margin = ln 9 / beta: the gradient vanishes there.
    margin = torch.tensor([math.log(9) / 0.5], dtype=torch.float64, requires_grad=True)

    dpo(margin, torch.zeros_like(margin), beta=0.5, label_smoothing=0.1).sum().backward()

    assert margin.grad is not None
    assert margin.grad.item() == pytest.approx(0, abs=1e-15)


def test_ipo_by_hand() -> None:
    # tau 0.25 puts the target at 1 / (2 tau) = 2: the margins 2, 0 and 5 are 0, 2 and 3 away.
    losses = ipo(torch.tensor([3.0, 1.0, 4.0]), torch.tensor([1.0, 1.0, -1.0]), tau=0.25)

    assert losses.tolist() == pytest.approx([0.0, 4.0, 9.0])


def test_hinge_by_hand() -> None:
    # beta 0.5: 1 - 0.5 * margin at the margins 1, 0 and -4; flat from the margin 2 on.
    losses = hinge(torch.tensor([2.0, 1.0, -3.0, 9.0]), torch.tensor([1.0, 1.0, 1.0, 1.0]), beta=0.5)

    assert losses.tolist() == pytest.approx([0.5, 1.0, 3.0, 0.0])


def test_sft_by_hand() -> None:
    losses = sft(torch.tensor([-6.0, -1.0]), torch.tensor([3, 4]))

    assert losses.tolist() == pytest.approx([2.0, 0.25])


@every_loss
def test_agrees_with_plain_python(name: str) -> None:
    chosen, rejected = 4 * torch.randn(2, 50, dtype=torch.float64)

    expected = [PLAIN[name](c - r) for c, r in zip(chosen.tolist(), rejected.tolist(), strict=True)]

    assert LOSSES[name](chosen, rejected).tolist() == pytest.approx(expected, rel=1e-12)


@every_loss
def test_only_the_margin_counts(name: str) -> None:
    chosen, rejected = torch.randn(2, 20, dtype=torch.float64)

    moved = LOSSES[name](chosen + 7, rejected + 7)

    torch.testing.assert_close(moved, LOSSES[name](chosen, rejected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "slope"),
    [
        ("dpo", -0.5),  # log sigma(-x) - log sigma(x) = -x, with x = beta margin
        ("cdpo", -0.5 * 0.8),  # the same, times 1 - 2 label_smoothing
        ("ipo", -8.0),  # (m - a)^2 - (m + a)^2 = -4 a m, with a = 1 / (2 tau) = 2
        ("hinge", -1.0),  # (1 - x) - (1 + x) = -2 x, where neither side is flat
    ],
)
def test_swapping_the_completions_costs_the_margin(name: str, slope: float) -> None:
    chosen, rejected = torch.rand(2, 20, dtype=torch.float64)

    difference = LOSSES[name](chosen, rejected) - LOSSES[name](rejected, chosen)

    torch.testing.assert_close(difference, slope * (chosen - rejected), rtol=1e-12, atol=1e-12)


@every_loss
def test_refuses_to_broadcast(name: str) -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        LOSSES[name](torch.zeros(3), torch.zeros(1))


@pytest.mark.parametrize("name", [*LOSSES, "sft"])
def test_refuses_to_broadcast_without_type_checks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)

    with pytest.raises(ValueError, match=r"differ in shape: \(3,\) and \(1,\)"):
        {**LOSSES, "sft": sft}[name](torch.zeros(3), torch.ones(1))
