"""Scores of lists that the tests of their objectives share, and the plainest loop over a list."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dpo_lightning import ListScores
from dpo_lightning.losses.scores import Baseline

REFERENCE = -20.0


def scores_of(
    logratios: Sequence[Sequence[float]] | Sequence[Tensor],
    scores: Sequence[Sequence[float]],
    lengths: Sequence[Sequence[int]] | None = None,
    dtype: torch.dtype = torch.float64,
    **columns: Sequence[float],
) -> ListScores:
    """Lists of log-ratios and scores, in the order of sequences; the reference's log-probs are all the same."""
    counts = tuple(map(len, scores))
    order = [(n, k) for k in range(max(counts)) for n in range(len(counts)) if k < counts[n]]

    def flat(values: Sequence[Sequence[float]]) -> Tensor:
        return torch.tensor([values[n][k] for n, k in order], dtype=dtype)

    ratios = torch.stack([torch.as_tensor(logratios[n][k], dtype=dtype) for n, k in order])
    reference = torch.full_like(ratios, REFERENCE).detach()
    tokens = [[4 + k for k in range(count)] for count in counts] if lengths is None else lengths
    return ListScores(
        ratios + reference,
        reference,
        flat(tokens).long(),
        torch.tensor([n for n, _ in order]),
        counts,
        {"score": flat(scores), **{name: torch.tensor(values, dtype=dtype) for name, values in columns.items()}},
        baseline=Baseline(torch.zeros((), dtype=dtype), torch.zeros((), dtype=dtype)),
    )


RAGGED = ([[0.3, -1.2, 0.8, 0.1], [0.5, -0.5], [1.0, 2.0, -1.0]], [[3.0, 1.0, 2.0, 0.5], [0.1, 0.9], [2.0, 2.0, 1.0]])
"""Log-ratios and scores of lists of four, two and three completions, two of which have the same score."""
