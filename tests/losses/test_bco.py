"""BCO bounds DPO, most tightly with its reward shift."""

from __future__ import annotations

import math

import pytest
import torch

from dpo_lightning.errors import InputError
from dpo_lightning.losses import PairedBCO, dpo, paired_bco
from dpo_lightning.losses.scores import Baseline
from tests.losses.battery import Pair, scores_of, some_scores


def test_it_bounds_dpo_and_tightest_at_the_mean_of_the_two_rewards() -> None:
    chosen, rejected = 4 * torch.randn(2, 1, dtype=torch.float64)
    middle = 0.5 * (chosen + rejected).squeeze() / 2

    bounds = torch.cat(
        [paired_bco(chosen, rejected, beta=0.5, delta=middle + shift) for shift in (-1.0, -0.1, 0.0, 0.1, 1.0)]
    )

    assert (bounds > dpo(chosen, rejected, beta=0.5)).all()
    assert bounds.argmin() == 2


def test_it_observes_the_rewards_of_both_completions() -> None:
    # Log-ratios 2 and -2, 1 and 3: with beta 0.5 the rewards are 1, 0.5, -1, 1.5, and delta is their mean 0.5.
    scores = scores_of([Pair(-8.0, -12.0), Pair(-9.0, -7.0)])
    scores = scores._replace(policy_chosen_logps=scores.policy_chosen_logps.requires_grad_())

    observed = PairedBCO(beta=0.5, momentum=0.7).observe(scores)

    assert observed.values.tolist() == [1.0, 0.5, -1.0, 1.5]
    assert not observed.values.requires_grad
    assert observed.momentum == 0.7


def test_its_shift_is_the_running_mean() -> None:
    scores = some_scores()
    running = torch.tensor(0.3, dtype=torch.float64)

    losses = PairedBCO(beta=0.5)(scores._replace(baseline=Baseline(batch=torch.tensor(7.0), running=running)))

    expected = paired_bco(scores.chosen_logratio, scores.rejected_logratio, beta=0.5, delta=running)
    assert torch.equal(losses, expected)


def test_it_says_that_the_means_are_missing() -> None:
    with pytest.raises(ValueError, match=r"give scores\.baseline"):
        PairedBCO()(some_scores()._replace(baseline=None))


@pytest.mark.parametrize("momentum", [1.0, -0.1, math.nan])
def test_refuses_a_momentum_that_forgets_nothing(momentum: float) -> None:
    with pytest.raises(InputError, match=r"^PairedBCO\.momentum must be in \[0, 1\), got"):
        PairedBCO(momentum=momentum)
