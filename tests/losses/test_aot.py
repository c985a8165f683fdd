"""AOT against brute force."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import permutations

import pytest
import torch
from torch import Tensor

from dpo_lightning.losses import DPO, AOTPaired, AOTUnpaired, Objective, aot_paired, aot_unpaired
from tests.losses.battery import Pair, scores_of

both = pytest.mark.parametrize("loss", [aot_paired, aot_unpaired])


def cost(first: float, second: float) -> float:
    return math.log1p(math.exp(-0.5 * (first - second)))


@both
def test_no_other_pairing_is_cheaper(loss: Callable[..., Tensor]) -> None:
    first, second = torch.randn(2, 5, dtype=torch.float64)

    pairings = [
        sum(cost(a, b) for a, b in zip(first.tolist(), order, strict=True)) for order in permutations(second.tolist())
    ]

    assert loss(first, second, beta=0.5).sum().item() == pytest.approx(min(pairings), rel=1e-12)


@both
def test_each_loss_is_that_of_its_rank(loss: Callable[..., Tensor]) -> None:
    first, second = torch.randn(2, 30, dtype=torch.float64)
    partner = dict(zip(sorted(first.tolist()), sorted(second.tolist()), strict=True))

    expected = [cost(value, partner[value]) for value in first.tolist()]

    assert loss(first, second, beta=0.5).tolist() == pytest.approx(expected, rel=1e-12)


@both
def test_the_order_of_the_partners_does_not_count_and_that_of_the_batch_is_kept(loss: Callable[..., Tensor]) -> None:
    first, second = torch.randn(2, 30, dtype=torch.float64)
    losses, order = loss(first, second, beta=0.5), torch.randperm(30)

    assert torch.equal(loss(first, second[order], beta=0.5), losses)
    assert torch.equal(loss(first[order], second, beta=0.5), losses[order])


@both
def test_gradients_reach_the_partner_that_the_rank_chose(loss: Callable[..., Tensor]) -> None:
    first = torch.tensor([3.0, 1.0], dtype=torch.float64, requires_grad=True)
    second = torch.tensor([0.0, 2.0], dtype=torch.float64, requires_grad=True)
    losses = loss(first, second, beta=1.0)  # 3 with 2, 1 with 0

    (by_first,) = torch.autograd.grad(losses[0], first, retain_graph=True)
    (by_second,) = torch.autograd.grad(losses[0], second)

    slope = 1 / (1 + math.e)  # sigma(-1)
    assert by_first.tolist() == pytest.approx([-slope, 0])
    assert by_second.tolist() == pytest.approx([0, slope])


@pytest.mark.parametrize("objective", [AOTPaired(beta=0.5), AOTUnpaired(beta=0.5)])
def test_with_one_pair_it_is_dpo(objective: Objective) -> None:
    scores = scores_of([Pair(-8.0, -12.0, -9.0, -10.5)])

    torch.testing.assert_close(objective(scores), DPO(beta=0.5)(scores))
