"""A layout's batch against each completion alone behind its prompt: unpadded, one row, the model's plain forward."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dpo_lightning.batch import PreferenceBatch, TokenizedExample, sequence_order
from dpo_lightning.logprobs import TokenScorer

_LENGTHS = [(14, 9, 6), (11, 5, 10)]
"""Prompt, chosen, rejected of the two pairs."""


class Scores(NamedTuple):
    """Log-probs of the completion tokens `[N]`, and the gradient of a weighted sum of them by parameter."""

    token_logps: Tensor
    gradients: list[Tensor]


class Errors(NamedTuple):
    """Largest error of a token's log-prob in nats, and of a gradient over the largest gradient."""

    forward: float
    gradients: float


def random_pairs(vocab_size: int) -> list[TokenizedExample]:
    """Draw two pairs, in which the chosen completion is once the longer and once the shorter one."""
    generator = torch.Generator().manual_seed(0)

    def tokens(count: int) -> list[int]:
        return torch.randint(3, vocab_size, (count,), generator=generator).tolist()

    return [
        TokenizedExample.pair(number, tokens(prompt), tokens(chosen), tokens(rejected))
        for number, (prompt, chosen, rejected) in enumerate(_LENGTHS)
    ]


def scores_alone(model: nn.Module, pairs: list[TokenizedExample]) -> Scores:
    """Run the plain forward of each sequence by itself, chosen ones first."""
    rows = [(pairs[number].prompt_ids, pairs[number].branches[k]) for number, k in sequence_order(pairs)]
    return _scores(model, torch.cat([_alone(model, prompt, completion) for prompt, completion in rows]))


def scores_of(model: nn.Module, batch: PreferenceBatch) -> Scores:
    """Score a batch the package's way."""
    return _scores(model, TokenScorer(model)(batch).logps)


def errors(ours: Scores, exact: Scores) -> Errors:
    """Measure how far the first is from the second."""
    largest = max(float(gradient.abs().max()) for gradient in exact.gradients)
    return Errors(
        float((ours.token_logps - exact.token_logps).abs().max()),
        max(float((a - b).abs().max()) for a, b in zip(ours.gradients, exact.gradients, strict=True)) / largest,
    )


def _alone(model: nn.Module, prompt: list[int], completion: list[int]) -> Tensor:
    logits = model(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
    return logits.double().log_softmax(-1).gather(-1, torch.tensor(completion)[:, None])[:, 0]


def _scores(model: nn.Module, token_logps: Tensor) -> Scores:
    # Unequal weights: a gradient that went to the wrong token would not cancel.
    weights = torch.linspace(0.5, 1.5, len(token_logps), dtype=torch.float64)
    total = (token_logps.double() * weights).sum()
    gradients = torch.autograd.grad(total, list(model.parameters()), materialize_grads=True)
    return Scores(token_logps.detach().double(), [gradient.double() for gradient in gradients])
