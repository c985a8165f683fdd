"""What the length costs."""

from __future__ import annotations

import torch

from dpo_lightning.losses import dpo, length_regularized_dpo


def test_it_is_dpo_of_the_reward_with_the_cost_put_back() -> None:
    """The policy's reward is the labels' less alpha per token, so the labels follow it plus alpha per token."""
    chosen, rejected = torch.randn(2, 20, dtype=torch.float64)
    chosen_lengths, rejected_lengths = torch.randint(1, 50, (2, 20))
    as_labelled = [
        logratio + 0.01 * lengths.double() / 0.5
        for logratio, lengths in ((chosen, chosen_lengths), (rejected, rejected_lengths))
    ]

    losses = length_regularized_dpo(chosen, rejected, chosen_lengths, rejected_lengths, beta=0.5, alpha=0.01)

    torch.testing.assert_close(losses, dpo(*as_labelled, beta=0.5), rtol=1e-12, atol=0)


def test_a_longer_chosen_completion_pulls_less() -> None:
    chosen = torch.zeros(2, requires_grad=True)
    lengths = torch.tensor([100, 10]), torch.tensor([10, 100])

    length_regularized_dpo(chosen, torch.zeros(2), *lengths, beta=0.1, alpha=0.01).sum().backward()

    assert chosen.grad is not None
    assert chosen.grad[0].abs() < 0.05 < chosen.grad[1].abs()  # 0.05 is DPO's pull at the start
