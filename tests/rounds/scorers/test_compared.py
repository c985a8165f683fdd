"""A policy beside its reference."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo_lightning.batch import TokenizedExample
from dpo_lightning.logprobs import TokenScorer
from dpo_lightning.rounds.saved_policy import run_settings
from dpo_lightning.rounds.scorers import compared as room
from dpo_lightning.rounds.scorers.compared import Asked, compared
from tests.helpers.runs import saved_model

EXAMPLES = [
    TokenizedExample(0, [1, 5, 6], [[7, 8], [9], [10, 11, 2]]),
    TokenizedExample(1, [1, 12], [[13, 2]]),
    TokenizedExample(2, [1, 14, 15, 16], [[17], [18, 19]]),
]


@pytest.mark.parametrize("most", [16384, 9])
def test_completions_of_a_prompt_are_scored_in_one_row_as_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(room, "_MOST_TOKENS", most)
    one, two = (saved_model(tmp_path / str(seed), seed=seed) for seed in (0, 1))
    shapes: list[tuple[int, ...]] = []
    score = TokenScorer.__call__
    monkeypatch.setattr(
        TokenScorer, "__call__", lambda own, batch: shapes.append(tuple(batch.input_ids.shape)) or score(own, batch)
    )
    with compared(Asked(one, two, 1.0), run_settings(None, "score"), "score") as models:
        shapes.clear()
        found = models.token_ratios(EXAMPLES)
        whole = shapes[:]
        apart = [
            models.token_ratios([each._replace(completion_ids=[ids])])[0][0]
            for each in EXAMPLES
            for ids in each.completion_ids
        ]
    assert whole == ([(1, 20), (1, 20)] if most > 20 else [(1, 9), (1, 9), (1, 4), (1, 4), (1, 7), (1, 7)])
    assert [len(each) for each in found] == [3, 1, 2]
    for together, alone in zip([each for row in found for each in row], apart, strict=True):
        assert together.ids.tolist() == alone.ids.tolist()
        assert together.policy == pytest.approx(alone.policy, abs=1e-4)
        assert together.reference == pytest.approx(alone.reference, abs=1e-4)
        assert abs(together.ratios).max() > 1e-3
