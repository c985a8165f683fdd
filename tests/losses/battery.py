"""What the battery needs to know of an objective: one row each, and scores to try it on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import NamedTuple

import torch
from torch import Tensor

from dpo_lightning.batch import COLUMNS, Holds
from dpo_lightning.losses import Objective
from dpo_lightning.losses.scores import Baseline, PairScores, TokenScores


class Pair(NamedTuple):
    """Summed log-probs and lengths of a pair, its columns, and the log collision probability of every token."""

    policy_chosen: float
    policy_rejected: float
    reference_chosen: float = -10.0
    reference_rejected: float = -10.0
    chosen_length: int = 4
    rejected_length: int = 2
    margin: float = 1.0
    probability: float = 0.8
    weight: float = 1.0
    log_collisions: float = -1.0


@dataclass(frozen=True)
class Row:
    """An objective and what is known of it.

    Attributes:
        name: Of the row.
        objective: With settings that the values by hand hold for.
        pairs: Three pairs or more; a log-prob is spread evenly over a completion's tokens.
        losses: Of each pair, worked out by hand.
        rewards: Of the first pair's two completions, by hand.
        start: Loss where policy and reference agree, of all pairs or of each; None where it depends on the log-probs.
        signs: Of the gradients by the policy's two log-probs, log-ratios within half a nat; None where both occur.
        only_margin: Whether adding the same to both log-ratios changes nothing.
        swap: L(w, l) - L(l, w) = swap x the difference of the log-ratios; None where it is not proportional.
        baseline: Means of the batch and of the training so far, where they are read.
        low_precision: Largest relative error with scores in bf16 and fp16 beyond the scores' own rounding.
        detached: Whether a factor of the loss has no gradient, so that finite differences are not its gradient.
    """

    name: str
    objective: Objective
    pairs: Sequence[Pair]
    losses: Sequence[float]
    rewards: tuple[float, float]
    start: float | Sequence[float] | None
    signs: tuple[int | None, int | None] = (-1, 1)
    only_margin: bool = False
    swap: float | None = None
    baseline: tuple[float, float] = (0.0, 0.0)
    low_precision: float = 1e-6
    detached: bool = False


def all_rows() -> list[Row]:
    """The rows of every module of `tests.losses.rows`."""
    from tests.losses import rows

    modules = [import_module(f"{rows.__name__}.{module.name}") for module in iter_modules(rows.__path__)]
    return [row for module in modules for row in module.ROWS]


def scores_of(
    pairs: Sequence[Pair], baseline: tuple[float, float] = (0.0, 0.0), dtype: torch.dtype = torch.float64
) -> PairScores:
    """Scores as a batch of these pairs has them, tokens included."""
    policy = [pair.policy_chosen for pair in pairs] + [pair.policy_rejected for pair in pairs]
    reference = [pair.reference_chosen for pair in pairs] + [pair.reference_rejected for pair in pairs]
    lengths = torch.tensor([pair.chosen_length for pair in pairs] + [pair.rejected_length for pair in pairs])
    named = [name for name, column in COLUMNS.items() if column.holds is Holds.NUMBER]
    columns = {name: torch.tensor([getattr(pair, name) for pair in pairs], dtype=dtype) for name in named}
    collisions = torch.tensor([pair.log_collisions for pair in pairs] * 2, dtype=dtype)
    tokens = TokenScores(
        *(_spread(torch.tensor(sums, dtype=dtype), lengths) for sums in (policy, reference)),
        torch.arange(len(lengths)).repeat_interleave(lengths),
        lengths,
        collisions.repeat_interleave(lengths),
    )
    means = Baseline(*torch.tensor(baseline, dtype=dtype))
    return PairScores.from_tokens(tokens, columns)._replace(baseline=means)


def with_policy(scores: PairScores, policy_logps: Tensor) -> PairScores:
    """The same with other log-probs ``[N]`` of the policy's tokens."""
    assert scores.tokens is not None
    tokens = scores.tokens._replace(policy_logps=policy_logps)
    return PairScores.from_tokens(tokens, scores.columns)._replace(baseline=scores.baseline)


def some_scores(dtype: torch.dtype = torch.float64) -> PairScores:
    """Three pairs with log-ratios within half a nat, so that no objective is flat."""
    rows = torch.rand(4, 3, dtype=torch.float64)
    references, ratios = -10 - rows[:2], rows[2:] - 0.5
    lengths = ((4, 3), (2, 8), (5, 5))
    pairs = [
        Pair(
            *(references[:, p] + ratios[:, p]).tolist(),
            *references[:, p].tolist(),
            *lengths[p],
            margin=0.5 + p,
            probability=0.6 + 0.1 * p,
            weight=0.5 + p,
        )
        for p in range(3)
    ]
    return scores_of(pairs, dtype=dtype)


def _spread(sums: Tensor, lengths: Tensor) -> Tensor:
    return (sums / lengths).repeat_interleave(lengths)
