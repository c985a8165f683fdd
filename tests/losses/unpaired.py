"""Scores of single completions that the tests of unpaired objectives share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dpo_lightning import UnpairedScores
from dpo_lightning.losses.scores import Baseline

LABELS = torch.tensor([True, False, True, False])


def scores_of(
    logratio: Tensor, desirable: Tensor, baseline: float = 0.0, reference: float = 0.0, **others: Any
) -> UnpairedScores:
    given = torch.full_like(logratio, reference).detach()
    lengths = torch.ones(len(logratio), dtype=torch.long)
    means = Baseline(*[torch.tensor(baseline, dtype=given.dtype)] * 2)
    return UnpairedScores(logratio + given, given, lengths, desirable, baseline=means, **others)
