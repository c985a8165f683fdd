"""Log-probs the slow way: each sequence alone, double precision, python loops."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dpo_lightning.batch import TokenizedExample, sequence_order


def brute_token_logps(model: nn.Module, pairs: Sequence[TokenizedExample]) -> list[list[float]]:
    """Log-probs of each sequence's tokens, in the order of a batch: of pairs, the chosen completions first."""
    return [_completion_logps(model, pairs[n].prompt_ids, pairs[n].branches[k]) for n, k in sequence_order(pairs)]


def flat(values: list[list[float]]) -> Tensor:
    """One float64 tensor of all tokens, in the order of a padded batch."""
    return torch.tensor([value for row in values for value in row], dtype=torch.float64)


def _completion_logps(model: nn.Module, prompt: list[int], completion: list[int]) -> list[float]:
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + completion])).logits[0]
    logps = logits.double().log_softmax(-1)
    # The token at position t of the sequence is predicted by the logits at t - 1.
    return [logps[len(prompt) + k - 1, token].item() for k, token in enumerate(completion)]
