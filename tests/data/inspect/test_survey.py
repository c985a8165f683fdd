"""What was read, split by split."""

from __future__ import annotations

import numpy as np
from datasets import Dataset

from dpo_lightning import ScoredPairsFormat
from dpo_lightning.data.lengths import Lengths
from dpo_lightning.data.tokenize import Outcome
from tests.data.common import ready
from tests.data.inspect.common import clean_labelled, clean_rows, split, survey


def test_tokens_and_lengths_are_those_that_a_run_trains_on():
    rows = clean_rows(30)
    rows[4]["chosen"] = ""
    trained = ready(Dataset.from_list(rows), max_length=90).splits["train"]
    read = split(rows, max_length=90)
    assert read.tokens.rows.tolist() == trained["row"][:]
    assert [read.tokens.prompts.one(n).tolist() for n in range(29)] == trained["prompt_ids"][:]
    flat = [ids for completions in trained["completion_ids"][:] for ids in completions]
    assert [read.tokens.completions.one(n).tolist() for n in range(58)] == flat
    expected = Lengths.of_rows(trained)
    assert np.array_equal(read.lengths.prompt, expected.prompt)
    assert np.array_equal(read.lengths.completions, expected.completions)


def test_labels_go_along():
    read = split(clean_labelled(6))
    assert read.tokens.labels is not None
    assert read.tokens.labels.tolist() == [True, False] * 3


def test_rows_of_which_something_holds():
    rows = clean_rows(5)
    rows[1]["chosen"] = rows[3]["chosen"] = ""
    read = survey(rows, rows[3:])
    assert read.where(lambda each: each.outcome == Outcome.EMPTY_COMPLETION) == {"train": [1, 3], "val": [0]}
    assert read.count == 7
    assert [*read.others] == ["val"]
    assert len(read.train.kept) == 3


def test_a_row_with_several_examples_is_named_once():
    rows = [{"prompt": "p", "completions": [" a", " b", " c"], "scores": [n, 5, 9]} for n in range(3)]
    read = survey(rows, row_format=ScoredPairsFormat(score="scores", take="all_pairs"))
    assert read.count == 9
    assert read.where(lambda each: True) == {"train": [0, 1, 2]}
