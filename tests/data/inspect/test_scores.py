"""What a model makes of examples, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dpo_lightning.data.inspect.said import Said
from dpo_lightning.data.inspect.scores import ModelScores, ScoredExample
from dpo_lightning.data.inspect.survey import Seen
from dpo_lightning.data.tokenize import Outcome


def seen(row: int, *lengths: int, labels: list[bool] | None = None) -> Seen:
    ids = [np.zeros(length, dtype=np.int32) for length in lengths]
    said = Said.of("", [""] * len(ids))
    return Seen(row, said, labels, {}, False, False, ids[0], ids, Outcome.KEPT, False, (1, *lengths))


PAIRS = ModelScores(
    "tiny",
    [
        ScoredExample(seen(3, 2, 4), [-4.0, -6.0]),  # chosen is likelier, by token rejected is
        ScoredExample(seen(5, 4, 2), [-6.0, -4.0]),
        ScoredExample(seen(8, 1, 1), [-9.0, -1.0]),
    ],
)
LABELLED = ModelScores(
    "tiny",
    [ScoredExample(seen(0, 2, labels=[True]), [-3.0]), ScoredExample(seen(1, 4, labels=[False]), [-8.0])],
)


def test_pairs():
    assert PAIRS.accuracy == pytest.approx(1 / 3)
    assert PAIRS.accuracy_per_token == pytest.approx(1 / 3)
    assert PAIRS.nats == pytest.approx(((-2 - 1.5 - 9) / 3, (-1.5 - 2 - 1) / 3))
    assert PAIRS.examples[0].loss == pytest.approx(math.log(1 + math.exp(-2)))
    assert [each.seen.row for each in PAIRS.largest(2)] == [8, 5]


def test_labelled_completions():
    assert LABELLED.accuracy is None
    assert LABELLED.nats == (-1.5, -2.0)
    assert [(each.seen.row, each.loss) for each in LABELLED.largest()] == [(1, 2.0), (0, 1.5)]


def test_lists_are_the_best_against_the_worst():
    scores = ModelScores("tiny", [ScoredExample(seen(0, 2, 1, 4), [-4.0, -1.0, -6.0])])
    assert (scores.accuracy, scores.accuracy_per_token) == (1.0, 0.0)
    assert scores.nats == (-2.0, -1.25)
    assert scores.examples[0].loss == pytest.approx(math.log(1 + math.exp(-2)))


def test_labels_of_one_prompt_are_compared():
    scores = ModelScores("tiny", [ScoredExample(seen(0, 2, 1, labels=[False, True]), [-4.0, -3.0])])
    assert (scores.accuracy, scores.accuracy_per_token) == (1.0, 0.0)
    assert scores.nats == (-3.0, -2.0)


def test_tokens_that_do_not_count_are_no_part_of_a_mean():
    masks = [np.array([True, False]), np.array([True] * 4)]
    example = ScoredExample(seen(0, 2, 4)._replace(scored=masks), [-4.0, -6.0])
    assert example.per_token == [-4.0, -1.5]


def test_one_label_alone():
    good, bad = ModelScores("tiny", LABELLED.examples[:1]).nats
    assert good == -1.5
    assert math.isnan(bad)
