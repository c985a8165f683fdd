"""Sentences and tables that terminal and page share."""

from __future__ import annotations

from dataclasses import replace

from dpo_lightning.data.inspect import Report
from dpo_lightning.data.inspect.phrases import (
    computed_note,
    computed_rows,
    named_rows,
    nothing_left,
    sampled,
    score_lines,
    sentence,
    severity_of,
    split_rows,
    verdict,
)
from dpo_lightning.data.inspect.scores import ModelScores, ScoredExample
from tests.data.inspect.common import clean_labelled, clean_rows, survey


def report(**changes):
    rows = clean_rows(20)
    rows[3]["chosen"] = ""
    rows[4]["chosen"] = None
    return Report.of(survey(rows, clean_rows(5, seed=1)), **changes)


def test_the_verdict_counts_by_severity():
    assert verdict(report()) == "1 error, 1 warning, 0 for information"
    assert verdict(Report.of(survey(clean_rows(9)))) == "0 errors, 0 warnings, 0 for information"
    assert severity_of(report().findings[0]) == "error"


def test_a_finding_is_a_sentence():
    (finding, *_) = report().findings
    assert sentence(finding) == f"{finding.said}."
    assert sentence(finding._replace(said="the longer one is preferred")) == "The longer one is preferred."


def test_rows_are_named_up_to_a_number():
    assert named_rows({"train": [1, 2], "val": [3]}) == "train 1, 2; val 3"
    assert named_rows({"train": [*range(2010)]}, 3) == "train 0, 1, 2 and 2,007 more"


def test_the_table_of_splits():
    header, train, val = split_rows(report())
    assert header == ("split", "rows", "looked at", "refused", "examples", "kept", "dropped")
    assert train == ("train", "20", "20", "1", "19", "18", "1 with an empty completion")
    assert val == ("val", "5", "5", "0", "5", "5", "none")


def test_the_table_of_layouts_ends_with_the_tree():
    table = computed_rows(report())
    assert table[0] == ("layout", "tokens", "times the tree")
    assert table[-1][2] == "1.00"
    assert f"{report().computed.speedup:.2f} times fewer tokens" in computed_note(report())


def test_that_nothing_is_left_is_said_with_the_reasons():
    assert nothing_left(report()) is None
    rows = [{**row, "chosen": None if place < 6 else ""} for place, row in enumerate(clean_rows(20))]
    said = "No row can be trained on: of 20, 6 are refused and 14 dropped."
    assert nothing_left(Report.of(survey(rows, clean_rows(5)))) == said


def test_a_sample_is_said():
    assert sampled(report()) is None
    full = report()
    train = replace(full.survey.train, rows=5000)
    partly = replace(full, survey=replace(full.survey, splits={**full.survey.splits, "train": train}))
    assert "20 of 5,000 rows of here" in str(sampled(partly))


def test_a_models_numbers_are_said():
    kept = survey(clean_rows(3)).train.kept
    lines = score_lines(ModelScores("tiny", [ScoredExample(each, [-1.0, -2.0 * n]) for n, each in enumerate(kept)]))
    assert lines[0] == "3 training examples under tiny."
    assert "more likely one in 66.7 % of pairs" in lines[1]
    assert lines[-1].startswith("Largest loss in nats: rows 0 (1.31), 1 (0.31), 2 (0.05)")
    labelled = survey(clean_labelled(4)).train.kept
    assert len(score_lines(ModelScores("tiny", [ScoredExample(each, [-1.0]) for each in labelled]))) == 3
