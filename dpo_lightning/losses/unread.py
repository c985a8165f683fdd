"""A check that an objective says that it reads the reference, by what it makes of made-up scores."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dpo_lightning.errors import InputError
from dpo_lightning.losses.base import AnyObjective, Reads
from dpo_lightning.losses.compares import Compares
from dpo_lightning.losses.scores import Baseline, ListScores, PairScores, TokenScores, UnpairedScores, unread

_EXAMPLES, _TOKENS = 2, 3


def require_declared_reference(objective: AnyObjective) -> None:
    """Refuse an objective whose loss or rewards read the reference's log-probs although its `reads` does not say so.

    A run does not compute what nobody reads. The objective is asked for what it makes of a few scores: where the result
    is a number with a reference and none without one, or another one with another reference, it reads it.

    Args:
        objective: One that says that it reads no reference; of one that fails on the scores nothing is known.

    Raises:
        InputError: naming it, and what to write.
    """
    if Reads.REFERENCE in objective.reads:
        return
    try:
        with torch.no_grad(), torch.random.fork_rng([]):
            policy = -torch.linspace(0.5, 1.5, 2 * _EXAMPLES * _TOKENS)
            references = policy * 0, policy * 0, policy * 2, unread(policy)
            known, again, other, unknown = (_values(objective, policy, reference) for reference in references)
    except Exception:
        return
    becomes_nan = any(torch.isfinite(k).any() and torch.isnan(u).any() for k, u in zip(known, unknown, strict=True))
    if becomes_nan or (_alike(known, again) and not _alike(known, other)):
        name = type(objective).__name__
        raise InputError(
            f"objective {name} reads the reference, and its reads does not say so, so that there is none: add "
            f"Reads.REFERENCE to the reads of {name}"
        )


def _values(objective: Any, policy: Tensor, reference: Tensor) -> list[Tensor]:
    scores = _scores(objective, policy, reference)
    rewards = objective.rewards(scores)
    return [objective(scores), *(rewards if isinstance(rewards, tuple) else [rewards])]


def _alike(some: list[Tensor], others: list[Tensor]) -> bool:
    return all(torch.equal(one.nan_to_num(), other.nan_to_num()) for one, other in zip(some, others, strict=True))


def _scores(objective: AnyObjective, policy: Tensor, reference: Tensor) -> PairScores | UnpairedScores | ListScores:
    lengths = torch.full((2 * _EXAMPLES,), _TOKENS)
    sequence_id = torch.arange(2 * _EXAMPLES).repeat_interleave(_TOKENS)
    tokens = TokenScores(policy, reference, sequence_id, lengths, torch.full_like(policy, -1.0))
    columns = {name: torch.full((_EXAMPLES,), 0.5) for name in objective.reads_columns}
    baseline = Baseline(*torch.full((2,), 0.1)) if Reads.BASELINE in objective.reads else None
    if objective.compares is Compares.LISTS:
        of_completions = {name: torch.linspace(1, 0, len(lengths)) for name in objective.reads_columns}
        listed = ListScores.from_tokens(tokens, torch.tensor([0, 1] * 2), (2, 2), of_completions)
        return listed._replace(baseline=baseline)
    if objective.compares is not Compares.LABELLED:
        return PairScores.from_tokens(tokens, columns)._replace(baseline=baseline)
    desirable = torch.tensor([True, False])
    labelled = UnpairedScores.from_tokens(tokens, desirable, mismatched=True, columns=columns)
    return labelled._replace(baseline=baseline)
