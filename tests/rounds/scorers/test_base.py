"""The contract of scorers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from dpo_lightning.errors import InputError
from dpo_lightning.rounds.candidates import Candidates
from dpo_lightning.rounds.scorers.base import NoScoreError, Scorer, scored

ROWS = [Candidates("p", ["a", "bb"]), Candidates("q", ["ccc"])]
PLACES = ["line 1", "line 2"]


class Given(Scorer):
    """Gives what it is told to."""

    def __init__(self, values: list[list[float]]) -> None:
        self.values, self.closed = values, 0

    @property
    def made(self) -> Mapping[str, Any]:
        return {}

    def score(self, rows: Sequence[Candidates]) -> list[list[float]]:
        return self.values

    def close(self) -> None:
        self.closed += 1


def test_scores_come_back_and_the_scorer_is_closed() -> None:
    with Given([[1, 2], [3]]) as scorer:
        found = scored(scorer, ROWS, PLACES)
        assert found == [[1.0, 2.0], [3.0]]
        assert all(isinstance(each, float) for values in found for each in values)
        assert not scorer.columns()
        assert scorer.lines([]) == []
    assert scorer.closed == 1


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([[1.0, 2.0], [float("nan")]], "line 2, completion 0: its score is nan"),
        ([[1.0, float("inf")], [1.0]], "line 1, completion 1: its score is inf"),
        ([[1.0], [1.0]], "line 1: 1 scores for 2 completions"),
    ],
)
def test_what_is_no_score_is_named(values: list[list[float]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        scored(Given(values), ROWS, PLACES)


def test_an_error_says_its_row_without_a_place() -> None:
    error = NoScoreError("too long", 3, 1)
    assert str(error) == "row 3, completion 1: too long"
    assert str(error.at("score a.jsonl, line 9")) == "score a.jsonl, line 9, completion 1: too long"
