"""Three completions of a prompt, of which one is imitated."""

from __future__ import annotations

import math

import pytest
import torch

from dpo_lightning.errors import InputError
from dpo_lightning.losses import TPO, tpo
from tests.losses.listed import scores_of


def test_values_by_hand() -> None:
    # Log-probs -20 + 2, -20 + 1, -20 - 1; the gold one has 9 tokens: 18 / 9 nats a token.
    logps = [torch.tensor([value], dtype=torch.float64) for value in (-18.0, -19.0, -21.0)]
    losses = tpo(*logps, torch.tensor([9]), beta=0.5, nll_weight=0.25, gamma=0.1)
    assert losses.item() == pytest.approx(math.log1p(math.exp(-0.9)) + 0.25 * 2.0, rel=1e-12)


def test_the_best_is_gold_and_the_second_is_preferred_to_the_last() -> None:
    # Of four the third-best is left alone; of equal scores the one that comes first is ahead.
    ratios = [[1.0, 2.0, -1.0, 5.0], [0.0, 1.0, -3.0]]
    lists = scores_of(ratios, [[0.2, 0.9, 0.4, 0.3], [1.0, 1.0, 0.5]], [[3, 9, 4, 2], [10, 5, 2]])
    lists = lists._replace(policy_logps=lists.policy_logps.requires_grad_())
    losses = TPO(beta=0.5, nll_weight=0.25)(lists)
    (gradient,) = torch.autograd.grad(losses[0], lists.policy_logps)

    expected = [math.log1p(math.exp(1.0)) + 0.25 * 2.0, math.log1p(math.exp(-2.0)) + 0.25 * 2.0]
    assert losses.tolist() == pytest.approx(expected, rel=1e-12)
    own = gradient[lists.example_of_completion == 0]
    assert own.sign().tolist() == [1, -1, -1, 0]
    assert own[1].item() == pytest.approx(-0.25 / 9)
    assert TPO(beta=0.5).rewards(lists)[0].item() == pytest.approx(0.5 * -19)


def test_two_completions_are_too_few() -> None:
    with pytest.raises(
        InputError, match="objective TPO compares three completions of a prompt or more, and a list has 2"
    ):
        TPO()(scores_of([[1.0, 2.0, 3.0], [0.0, 1.0]], [[3.0, 2.0, 1.0], [1.0, 0.0]]))


def test_per_token_it_is_tpo_l() -> None:
    lists = scores_of([[1.0, 2.0, -1.0]], [[0.2, 0.9, 0.1]], [[3, 9, 4]])
    # Gold -18 over 9 tokens; -19 over 3 and -21 over 4, times 2, and the margin 0.5.
    expected = math.log1p(math.exp(-(2 * (-19 / 3 + 21 / 4) - 0.5))) + 2.0
    assert TPO(beta=2.0, gamma=0.5, length_normalized=True)(lists).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["beta", "nll_weight", "gamma"])
def test_settings_are_checked(name: str) -> None:
    with pytest.raises(InputError, match=rf"TPO\.{name} must be"):
        TPO(**{name: -1.0})
