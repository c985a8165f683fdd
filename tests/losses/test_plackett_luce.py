"""The likelihood of rankings."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch

from dpo_lightning.errors import InputError
from dpo_lightning.losses import DPO, PlackettLuceDPO
from dpo_lightning.losses.scores import PairScores
from tests.losses.listed import RAGGED, scores_of


def brute(rewards: list[float]) -> float:
    """Equation 20 of the rewards in the order of the ranking, best first."""
    return -sum(math.log(math.exp(r) / sum(map(math.exp, rewards[k:]))) for k, r in enumerate(rewards))


def test_of_two_completions_it_is_dpo() -> None:
    ratios = torch.linspace(-60, 60, 25, dtype=torch.float64)
    lists = scores_of([[r, -0.4 * r] for r in ratios.tolist()], [[1.0, 0.0]] * 25)
    zero, lengths = torch.zeros_like(ratios), torch.ones(25, dtype=torch.long)
    pairs = PairScores(ratios, -0.4 * ratios, zero, zero, lengths, lengths)

    torch.testing.assert_close(PlackettLuceDPO(0.3)(lists), DPO(0.3)(pairs), rtol=1e-12, atol=1e-14)


def test_ragged_lists_against_the_equation_in_the_plainest_words() -> None:
    ratios, scores = [*RAGGED[0][:2], RAGGED[0][2]], [*RAGGED[1][:2], [2.0, 3.0, 1.0]]
    expected = []
    for own, ranks in zip(ratios, scores, strict=True):
        order = sorted(range(len(own)), key=lambda k: -ranks[k])
        expected.append(brute([0.5 * own[k] for k in order]))

    assert PlackettLuceDPO(beta=0.5)(scores_of(ratios, scores)).tolist() == pytest.approx(expected, rel=1e-12)


def test_all_rankings_of_a_list_together_are_certain() -> None:
    ratios = [[0.3, -1.2, 0.8, 0.1]] * 24
    losses = PlackettLuceDPO(beta=0.7)(scores_of(ratios, [*map(list, permutations([1.0, 2.0, 3.0, 4.0]))]))
    assert (-losses).exp().sum().item() == pytest.approx(1, rel=1e-12)


def test_completions_with_the_same_score_are_not_compared() -> None:
    # Scores 2, 2, 1 with the rewards 1, 2, -1: each of the first two against the last alone.
    expected = math.log1p(math.exp(-2.0)) + math.log1p(math.exp(-3.0))
    scores = scores_of([[1.0, 2.0, -1.0], [3.0, -7.0]], [[2.0, 2.0, 1.0], [5.0, 5.0]])
    assert PlackettLuceDPO(beta=1.0)(scores).tolist() == pytest.approx([expected, 0.0], rel=1e-12)


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_it_starts_at_the_log_of_the_number_of_rankings(count: int) -> None:
    scores = scores_of([[0.0] * count], [[float(k) for k in range(count)]])
    assert PlackettLuceDPO()(scores).item() == pytest.approx(math.log(math.factorial(count)), rel=1e-12)


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extremes_keep_their_digits_in_float32(size: float) -> None:
    scores = scores_of([[size, 1 - size, 0.0]], [[3.0, 2.0, 1.0]], dtype=torch.float32)
    scores = scores._replace(policy_logps=scores.policy_logps.requires_grad_())
    loss = PlackettLuceDPO(beta=1.0)(scores)
    (gradient,) = torch.autograd.grad(loss.sum(), scores.policy_logps)

    exact = [size, 1 - size, 0.0]
    expected = sum(max(0.0, *(exact[j] - exact[k] for j in range(k, 3))) for k in range(3))
    assert loss.item() == pytest.approx(expected, rel=1e-4, abs=1e-3)
    assert gradient.isfinite().all()


def test_settings_are_checked() -> None:
    with pytest.raises(InputError, match=r"PlackettLuceDPO\.beta"):
        PlackettLuceDPO(beta=0.0)
