"""Supervised fine-tuning reads the chosen completions alone."""

from __future__ import annotations

import torch

from dpo_lightning.losses import SFT
from dpo_lightning.losses.scores import ChosenScores
from tests.losses.battery import some_scores


def test_chosen_completions_alone_have_the_loss_and_the_reward_that_they_have_in_pairs() -> None:
    pairs = some_scores()
    alone = ChosenScores(pairs.policy_chosen_logps, pairs.reference_chosen_logps, pairs.chosen_lengths)

    assert torch.equal(SFT()(alone), SFT()(pairs))
    assert torch.equal(SFT().chosen_rewards(alone), SFT().rewards(pairs)[0])


def test_every_token_of_a_completion_has_the_same_weight_whatever_its_length() -> None:
    # -log p / |y|: the gradient by each token's log-prob is -1 / |y|.
    chosen = torch.tensor([-8.0, -8.0], requires_grad=True)
    scores = ChosenScores(chosen, torch.zeros(2), torch.tensor([4, 2]))

    losses = SFT()(scores)
    losses.sum().backward()

    assert losses.tolist() == [2.0, 4.0]
    assert chosen.grad is not None
    assert chosen.grad.tolist() == [-0.25, -0.5]
