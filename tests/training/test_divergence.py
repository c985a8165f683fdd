"""The distance from the reference: against the KL divergence of distributions that are known."""

from __future__ import annotations

import pytest
import torch

from dpo_lightning.losses.scores import TokenScores
from dpo_lightning.training.divergence import divergence


def tokens_of(policy: torch.Tensor, reference: torch.Tensor, drawn: torch.Tensor) -> TokenScores:
    """Completions `[S, T]` of independent tokens, as the scores of a batch."""
    completions, length = drawn.shape
    sequence = torch.arange(completions).repeat_interleave(length)
    return TokenScores(
        policy[drawn].flatten(), reference[drawn].flatten(), sequence, torch.full((completions,), length)
    )


@pytest.mark.parametrize("drawn_from", ["policy", "reference"])
def test_near_the_reference_it_is_the_kl_divergence_whoever_wrote_the_completions(drawn_from: str) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20, generator=generator, dtype=torch.float64)
    reference = logits.log_softmax(0)
    policy = (logits + 0.03 * torch.randn(20, generator=generator, dtype=torch.float64)).log_softmax(0)
    source = policy if drawn_from == "policy" else reference
    drawn = torch.multinomial(source.exp(), 8000 * 25, replacement=True, generator=generator).view(8000, 25)

    found = divergence(tokens_of(policy, reference, drawn)).mean().item()

    for kl in (policy.exp() @ (policy - reference), reference.exp() @ (reference - policy)):
        assert found == pytest.approx(25 * kl.item(), rel=0.05)


def test_by_hand() -> None:
    policy = torch.tensor([-1.0, -2.0, -4.0], requires_grad=True)
    tokens = TokenScores(policy, torch.tensor([-1.5, -1.0, -4.0]), torch.tensor([0, 0, 1]), torch.tensor([2, 1]))

    found = divergence(tokens)

    assert found.tolist() == [(0.25 + 1) / 2, 0.0]
    assert not found.requires_grad
