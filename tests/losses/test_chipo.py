"""chiPO's link and its clip."""

from __future__ import annotations

import math

import pytest
import torch

from dpo_lightning.errors import InputError
from dpo_lightning.losses import ChiPO, chipo
from tests.losses.battery import some_scores


def mixed_divergence(u: float) -> float:
    """f of the chi-squared and the KL divergence together."""
    return 0.5 * (u - 1) ** 2 + u * math.log(u)


def test_its_reward_is_the_derivative_of_the_mixed_divergence() -> None:
    scores = some_scores()
    chosen, _ = ChiPO(beta=0.5).rewards(scores)

    for reward, logratio in zip(chosen.tolist(), scores.chosen_logratio.tolist(), strict=True):
        u, step = math.exp(logratio), 1e-5
        slope = (mixed_divergence(u + step) - mixed_divergence(u - step)) / (2 * step)
        assert reward == pytest.approx(0.5 * (slope - 1), rel=1e-6)  # f'(1) = 1


@pytest.mark.parametrize(("logratio", "pulls"), [(-10.0, False), (-2.0, True), (0.0, True), (0.5, True), (4.0, False)])
def test_beyond_twice_the_largest_reward_a_pair_pulls_no_more(logratio: float, pulls: bool) -> None:
    # The scaled margin 0.5 (e^x + x - 1) is -5.5, -1.4, 0, 0.6, 28.8; the bound is 2.
    chosen = torch.tensor([logratio], requires_grad=True)

    (loss,) = chipo(chosen, torch.zeros(1), beta=0.5, max_reward=1.0)
    loss.backward()

    assert chosen.grad is not None
    assert (chosen.grad.item() < 0) is pulls
    assert math.log1p(math.exp(-2)) <= loss.item() * (1 + 1e-6) <= math.log1p(math.exp(2)) * (1 + 2e-6)


def test_the_clip_by_hand() -> None:
    # 0.5 (e^w + w - e^l - l) is 5.63, -9.68 and 1.06 at the log-ratios 2 and -2, 1 and 3, -2 and -4; the bound is 3.
    chosen, rejected = torch.tensor([[2.0, 1.0, -2.0], [-2.0, 3.0, -4.0]], dtype=torch.float64)

    losses = chipo(chosen, rejected, beta=0.5, max_reward=1.5)

    within = 0.5 * (math.exp(-2) - math.exp(-4) + 2)
    assert losses.tolist() == pytest.approx([math.log1p(math.exp(-x)) for x in (3, -3, within)], rel=1e-12)


def test_refuses_a_bound_that_is_not_positive() -> None:
    with pytest.raises(InputError, match=r"^ChiPO\.max_reward must be a finite number greater than 0"):
        ChiPO(max_reward=0.0)
