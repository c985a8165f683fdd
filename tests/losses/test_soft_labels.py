"""Losses with a probability or a reward go over into those with hard labels, and into each other."""

from __future__ import annotations

import torch

from dpo_lightning.losses import DPO, DistilledDPO, RewardAwareKL, RewardAwareSquared, SoftLabelDPO
from tests.losses.battery import some_scores


def test_a_certain_label_is_dpos_and_a_share_of_flips_is_its_smoothing() -> None:
    scores = some_scores()
    for probability, smoothing in ((1.0, 0.0), (0.9, 0.1)):
        labelled = scores._replace(columns={"probability": torch.full((3,), probability, dtype=torch.float64)})
        expected = DPO(beta=0.5, label_smoothing=smoothing)(scores)
        torch.testing.assert_close(SoftLabelDPO(beta=0.5)(labelled), expected, rtol=1e-12, atol=0)


def test_a_reward_that_is_certain_leaves_dpo() -> None:
    # sigma(b) -> 1: the divergence becomes -log sigma(a).
    scores = some_scores()

    torch.testing.assert_close(RewardAwareKL(beta=0.5, eta=100.0)(scores), DPO(beta=0.5)(scores), rtol=1e-12, atol=0)


def test_near_the_true_margin_both_distances_are_one() -> None:
    # KL = sigma(b) sigma(-b) (a - b)^2 / 2 + O((a - b)^3), as the log-partition's second derivative is that product.
    scores = some_scores()
    near = scores._replace(columns={"margin": 0.5 * (scores.chosen_logratio - scores.rejected_logratio) + 1e-4})
    curvature = near.columns["margin"].sigmoid() * (-near.columns["margin"]).sigmoid()

    squared = RewardAwareSquared(beta=0.5)(near)

    torch.testing.assert_close(RewardAwareKL(beta=0.5)(near), curvature * squared, rtol=1e-3, atol=0)
    torch.testing.assert_close(DistilledDPO(beta=0.5)(near), 2 * squared, rtol=1e-12, atol=0)
