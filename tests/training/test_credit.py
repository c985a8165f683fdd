"""Which rewards are sums over tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dpo_lightning.batch import TokenizedExample, collate_padded
from dpo_lightning.losses import Reads
from dpo_lightning.losses.scores import TokenScores, unread
from dpo_lightning.training.credit import completion_rewards, token_credit
from dpo_lightning.training.examples import comparison_of
from tests.losses.battery import Row, all_rows

NO_SUM = {"ORPO", "AlphaPO", "ChiPO", "FDivergence"}
"""Objectives with a reward that is no sum over tokens: log-odds, a power of the likelihood, links."""


def batch(objective: Any) -> Any:
    columns = dict.fromkeys(objective.reads_columns, 0.5)
    examples = [TokenizedExample.pair(place, [1, 2], [3, 4, 2], [5] * (place + 1), **columns) for place in range(3)]
    return collate_padded(examples)


def tokens(own: Any, objective: Any) -> TokenScores:
    generator = torch.Generator().manual_seed(0)
    policy, reference = -torch.rand(2, len(own.targets), generator=generator) - 0.1
    has_reference = Reads.REFERENCE in objective.reads
    return TokenScores(policy, reference if has_reference else unread(policy), own.sequence_id, own.lengths)


@pytest.mark.parametrize("row", all_rows(), ids=lambda row: row.name)
def test_a_sum_over_tokens_is_the_reward_or_there_is_none(row: Row) -> None:
    own, comparison = batch(row.objective), comparison_of(row.objective)
    scored, has_reference = tokens(own, row.objective), Reads.REFERENCE in row.objective.reads
    found = token_credit(comparison, own, scored, has_reference=has_reference)
    if found is None:
        assert type(row.objective).__name__ in NO_SUM
        return
    predicted = completion_rewards(comparison.predicted(own, comparison.scores(own, scored)))
    parts = found.shares.split(found.lengths)
    assert torch.stack([part.sum() for part in parts]).float().tolist() == pytest.approx(predicted.tolist(), abs=1e-5)
    assert found.lengths == own.lengths.tolist()
    assert len(found.token_ids) == len(found.shares) == sum(found.lengths)
