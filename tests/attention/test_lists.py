"""Any number of completions of a prompt, ragged: both layouts against each sequence by itself, in float64."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor, nn

from dpo_lightning.batch import Collate, TokenizedExample, collate_padded, collate_tree, sequence_order
from dpo_lightning.logprobs import TokenScorer
from tests.helpers.tiny import VOCAB_SIZE, tiny_llama

LENGTHS = ((5, (4, 3, 6)), (1, (2,)), (7, (1, 5)), (3, (4, 2, 1, 3)))
"""Tokens of each prompt, and of its completions."""


def lists() -> list[TokenizedExample]:
    rng = random.Random(0)

    def tokens(count: int) -> list[int]:
        return [rng.randrange(3, VOCAB_SIZE) for _ in range(count)]

    return [
        TokenizedExample(row, tokens(p), [tokens(c) for c in branches]) for row, (p, branches) in enumerate(LENGTHS)
    ]


def alone(model: nn.Module, prompt: list[int], completion: list[int]) -> Tensor:
    """Log-probs of the completion's tokens from a plain forward of one sequence."""
    logits = model(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(-1, torch.tensor(completion)[:, None])[:, 0]


def gradients(model: nn.Module, token_logps: Tensor) -> list[Tensor]:
    """Of a sum with unequal weights, in which a gradient of the wrong token would not cancel."""
    weights = torch.linspace(0.5, 1.5, len(token_logps), dtype=torch.float64)
    return list(torch.autograd.grad((token_logps * weights).sum(), list(model.parameters())))


@pytest.mark.parametrize("mismatched", [False, True], ids=["completions", "and mismatched ones"])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("collate", [collate_tree, collate_padded])
def test_log_probs_and_gradients(collate: Collate, implementation: str, mismatched: bool) -> None:
    examples = lists()
    if mismatched:
        examples[1:3] = [each._replace(mismatched_ids=[9, 8, 7]) for each in examples[1:3]]
    model = tiny_llama(attn_implementation=implementation).double()
    sequences = [(examples[n].prompt_ids, examples[n].branches[k]) for n, k in sequence_order(examples)]
    expected = torch.cat([alone(model, prompt, completion) for prompt, completion in sequences])
    expected_gradients = gradients(model, expected)

    batch = collate(examples)
    found = TokenScorer(model)(batch).logps

    assert batch.completions == (3, 1, 2, 4)
    assert batch.mismatched == 2 * mismatched
    # RMSNorm computes in float32.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    for one, other in zip(gradients(model, found), expected_gradients, strict=True):
        assert (one - other).norm() <= 1e-5 * other.norm()


def test_the_tree_has_every_token_once() -> None:
    examples = lists()
    tokens = sum(p + sum(branches) for p, branches in LENGTHS)

    assert collate_tree(examples).input_ids.numel() == tokens
    assert collate_padded(examples).input_ids.shape == (sum(len(branches) for _, branches in LENGTHS), 12)
