"""What an objective may read: pairs and labelled completions out of tokens."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dpo_lightning.losses.scores import PairScores, TokenScores, UnpairedScores


def some_tokens(policy: Tensor | None = None) -> TokenScores:
    """Two pairs whose scored tokens stand in the order of a packed row: c0 c0 r0 c1 r1 r1 r1."""
    logps = -torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])
    return TokenScores(
        policy_logps=logps if policy is None else policy,
        reference_logps=logps / 2,
        sequence_id=torch.tensor([0, 0, 2, 1, 3, 3, 3]),
        lengths=torch.tensor([2, 1, 1, 3]),
    )


def test_pairs_have_the_sums_of_their_tokens() -> None:
    columns = {"weight": torch.tensor([1.0, 2.0])}
    tokens = some_tokens()

    scores = PairScores.from_tokens(tokens, columns)

    assert scores.policy_chosen_logps.tolist() == [-3, -8]
    assert scores.policy_rejected_logps.tolist() == [-4, -112]
    assert scores.reference_chosen_logps.tolist() == [-1.5, -4]
    assert scores.reference_rejected_logps.tolist() == [-2, -56]
    assert scores.chosen_lengths.tolist() == [2, 1]
    assert scores.rejected_lengths.tolist() == [1, 3]
    assert scores.chosen_logratio.tolist() == [-1.5, -4]
    assert scores.rejected_logratio.tolist() == [-2, -56]
    assert scores.columns is columns
    assert scores.tokens is tokens
    assert scores.baseline is None


def test_completions_have_the_sums_of_their_tokens() -> None:
    tokens, desirable = some_tokens(), torch.tensor([True, False])

    columns = {"weight": torch.tensor([1.0, 2.0])}
    scores = UnpairedScores.from_tokens(tokens, desirable, mismatched=False, columns=columns)

    assert scores.policy_logps.tolist() == [-3, -8]
    assert scores.reference_logps.tolist() == [-1.5, -4]
    assert scores.logratio.tolist() == [-1.5, -4]
    assert scores.lengths.tolist() == [2, 1]
    assert scores.desirable is desirable
    assert scores.columns is columns
    assert scores.tokens is tokens
    assert scores.policy_mismatched_logps is scores.reference_mismatched_logps is None


def test_mismatched_completions_have_no_graph() -> None:
    policy = torch.full((7,), -1.0, requires_grad=True)

    scores = UnpairedScores.from_tokens(some_tokens(policy), torch.tensor([True, False]), mismatched=True)

    assert scores.policy_mismatched_logps is not None
    assert scores.reference_mismatched_logps is not None
    assert scores.policy_mismatched_logps.tolist() == [-1, -3]
    assert scores.reference_mismatched_logps.tolist() == [-2, -56]
    assert scores.policy_logps.requires_grad
    assert not scores.policy_mismatched_logps.requires_grad


@pytest.mark.parametrize("with_tokens", [True, False])
def test_a_reference_that_agrees(with_tokens: bool) -> None:
    pairs = PairScores.from_tokens(some_tokens())
    completions = UnpairedScores.from_tokens(some_tokens(), torch.tensor([True, False]), mismatched=True)
    if not with_tokens:
        pairs, completions = pairs._replace(tokens=None), completions._replace(tokens=None)

    same, alike = pairs.without_difference(), completions.without_difference()

    assert [*same.chosen_logratio.tolist(), *same.rejected_logratio.tolist(), *alike.logratio.tolist()] == [0] * 6
    assert same.policy_rejected_logps.tolist() == [-4, -112]
    assert alike.reference_mismatched_logps is alike.policy_mismatched_logps
    for tokens in (same.tokens, alike.tokens):
        assert (tokens is not None) == with_tokens
        assert tokens is None or torch.equal(tokens.reference_logps, some_tokens().policy_logps)
