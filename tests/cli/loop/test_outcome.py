"""The table of the rounds, from files written by hand."""

from __future__ import annotations

import json

import pytest

from dpo_lightning.cli.loop.outcome import outcomes, table
from dpo_lightning.cli.loop.steps import Round


def rows(file, *found):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in found))


@pytest.fixture
def rounds(tmp_path):
    """Scores 1, 2, 3, 6 have the mean 3; log-ratios 0.5 and 1.5 the mean 1."""
    first, last = tmp_path / "round-1", tmp_path / "last"
    rows(
        first / "scored.jsonl",
        {"scores": [1, 2], "ended": [True, False]},
        {"scores": [3, 6], "ended": [True, True]},
    )
    rows(first / "pairs.jsonl", {}, {}, {})
    rows(first / "run/version_0/record/metrics.jsonl", {"step": 1, "val/rewards/accuracies": 0.1})
    rows(first / "run/version_0/record/run.json", {})
    rows(
        first / "run/version_1/record/metrics.jsonl",
        {"step": 1, "val/rewards/accuracies": 0.25},
        {"step": 2, "val/rewards/accuracies": 0.75},
        {"step": 2, "train/loss": 1.0},
    )
    rows(first / "run/version_1/record/run.json", {})
    rows(last / "scored.jsonl", {"scores": [4, 5]})
    rows(last / "kl.jsonl", {"scores": [0.5, 1.5]})
    return [Round(first, [], {}, []), Round(last, [], None, [])]


def test_means_are_those_of_the_files(rounds):
    first, last = outcomes(rounds)
    assert first == ("1", 3.0, 0.75, 3, 0.75, 0.0)
    assert last == ("last", 4.5, None, None, None, 1.0)


def test_the_table_has_a_row_for_each_round(rounds):
    assert table(outcomes(rounds)) == [
        "round  samples' score  ended  pairs  val accuracy  KL to first, nats",
        "    1               3    75%      3         0.750                  0",
        " last             4.5                                              1",
    ]


def test_a_column_that_nobody_knows_is_left_out(rounds):
    assert table(outcomes(rounds)[1:])[0].split() == ["round", "samples'", "score", "KL", "to", "first,", "nats"]
