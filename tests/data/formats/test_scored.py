"""Lists of completions with scores or ranks."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.data.formats import NoPreference, ScoredListFormat, ScoredPairsFormat
from dpo_lightning.errors import InputError
from tests.data.formats.common import assistant, user

TEXTS = {"prompt": "q", "completions": ["a", "b", "c", "d"], "scores": [1, 4, 1, 3]}


def pairs(row: Any = TEXTS, **settings: Any) -> list[list[Any]]:
    given = {} if "rank" in settings else {"score": "scores"}
    return [each.completions for each in ScoredPairsFormat(**{**given, **settings}).examples(row)]


def test_the_pairs_that_are_taken() -> None:
    assert pairs() == [["b", "c"]] or pairs() == [["b", "a"]]
    assert sorted(pairs(take="all_pairs")) == [["b", "a"], ["b", "c"], ["b", "d"], ["d", "a"], ["d", "c"]]


def test_the_random_one_is_drawn_by_the_content() -> None:
    drawn = {
        tuple(pairs({**TEXTS, "completions": [f"{n}a", "b", f"{n}c", f"{n}d"]}, take="best_random")[0])
        for n in range(20)
    }

    assert {better for better, _ in drawn} == {"b"}
    assert {worse[-1] for _, worse in drawn} == {"a", "c", "d"}
    assert pairs(take="best_random") == pairs(take="best_random")


@pytest.mark.parametrize("take", ["best_worst", "best_random", "all_pairs"])
@pytest.mark.parametrize("scores", [[1, 1, 1, 1], [1.0, "1", 1, 1]])
def test_one_score_for_all_is_no_preference(take: str, scores: list[Any]) -> None:
    with pytest.raises(NoPreference):
        pairs({**TEXTS, "scores": scores}, take=take)
    with pytest.raises(NoPreference):
        pairs({**TEXTS, "completions": ["a"], "scores": [1]}, take=take)


def test_ranks_are_smallest_for_the_best() -> None:
    row = {"prompt": "q", "completions": ["a", "b"], "ranks": [2, 1]}
    assert pairs(row, rank="ranks") == [["b", "a"]]


def test_the_margin_is_the_difference_of_a_number() -> None:
    row = {"prompt": "q", "completions": [{"t": "a", "s": {"x": 1}}, {"t": "b", "s": {"x": 4}}]}
    read = ScoredPairsFormat(completion="t", score="s.x", margin="s.x")

    assert read.examples(row)[0].columns == {"margin": 3.0}
    assert ScoredPairsFormat(score="scores", margin="scores").examples(TEXTS)[0].columns == {"margin": 3.0}


def test_a_list_has_its_best_completion_first() -> None:
    (example,) = ScoredListFormat(score="scores").examples(TEXTS)
    assert example.completions == ["b", "d", "a", "c"]
    assert example.columns == {"score": [4.0, 3.0, 1.0, 1.0]}


def test_quantiles_stay_with_their_completions() -> None:
    read = ScoredListFormat(score="scores", quantile="shares")
    row = {"prompt": "q", "completions": ["a", "b", "c"], "scores": ["1", " 3.5 ", 2], "shares": [0.1, "0.9", 0.4]}
    (example,) = read.examples(row)
    assert example.columns == {"score": [3.5, 2.0, 1.0], "quantile": [0.9, 0.4, 0.1]}
    assert set(read.columns) == {"score", "quantile"}
    with pytest.raises(InputError, match="field `shares`: 2 numbers for 3 completions"):
        read.examples({**row, "shares": [0.1, 0.2]})


def test_a_list_of_dialogues_has_one_prompt() -> None:
    dialogues = [[user("q"), assistant(text)] for text in "abc"]
    row = {"completions": dialogues, "scores": [1, 2, 3]}
    (example,) = ScoredListFormat(score="scores").examples(row)

    assert example.prompt == [user("q")]
    assert example.completions == [[assistant(text)] for text in "cba"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"completions": "a"}, "field `completions`: str, not a list of completions"),
        ({"scores": [1]}, "field `scores`: 1 numbers for 4 completions"),
        ({"scores": [1, 2, None, 3]}, r"field `scores\[2\]`: null, not a number"),
        ({"scores": ["1", "N/A", 2, 3]}, r"field `scores\[1\]`: str, not a number"),
        ({"scores": None}, "field `scores`: null"),
        ({"completions": ["a", 3, "c", "d"], "scores": [1, 9, 2, 3]}, r"field `completions\[1\]`: int, not text"),
    ],
)
def test_a_bad_row_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        pairs({**TEXTS, **change})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"score": "a", "rank": "b"}, "name either"),
        ({}, "name either"),
        ({"score": "a", "margin": ["a", "b"]}, "margin"),
    ],
)
def test_a_bad_setting_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ScoredPairsFormat(**settings)


def test_scores_that_are_one_number_in_a_batch_are_equal() -> None:
    """Sums of 0.1 and 0.2, and of a number in one, and whole numbers above 2^24: float32 has one for both."""
    for scores in ([0.3, 0.1 + 0.2], [2**24, 2**24 + 1]):
        row = {"prompt": "q", "completions": ["a", "b"], "scores": scores}
        for read in (ScoredPairsFormat(score="scores"), ScoredListFormat(score="scores")):
            with pytest.raises(NoPreference):
                read.examples(row)
    row = {"prompt": "q", "completions": ["a", "b", "c"], "scores": [0.3, 0.1 + 0.2, 1.0]}
    assert ScoredPairsFormat(score="scores", take="all_pairs").examples(row)[1].completions == ["c", "b"]
    (example,) = ScoredListFormat(score="scores").examples(row)
    assert example.columns["score"] == [1.0, pytest.approx(0.3), pytest.approx(0.3)]
    assert len(set(example.columns["score"])) == 2  # type: ignore[arg-type]
