"""The report as one value, and as JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dpo_lightning.data.inspect import EXIT_CODES, Report, Severity
from dpo_lightning.data.inspect.report import dropped
from dpo_lightning.data.inspect.scores import ModelScores, ScoredExample
from tests.data.inspect.common import clean_labelled, clean_rows, split, survey


@pytest.fixture
def report() -> Report:
    rows = clean_rows(40)
    rows[3]["chosen"], rows[4]["rejected"], rows[5]["chosen"] = None, "", "\x1b[31mred\u202e"
    return Report.of(survey(rows, clean_rows(8, seed=1)))


def test_the_document_is_plain_ascii(report):
    document = report.document()
    assert document.isascii()
    assert "\x1b" not in document
    read = json.loads(document)
    assert read["splits"]["train"] == {
        "place": "here",
        "rows": 40,
        "looked_at": 40,
        "examples": 39,
        "kept": 38,
        "rows_kept": 38,
        "rows_dropped": 1,
        "refused": 1,
        "dropped": {"with an empty completion": 1},
        "unread": {},
    }
    assert read["severity"] == "error"
    findings = {finding["name"]: finding for finding in read["findings"]}
    assert findings["refused rows"]["rows"] == {"train": [3]}
    assert findings["unseen characters"]["severity"] == "info"
    assert read["model"] is None
    assert len(read["examples"]) == 5
    assert sum(count for *_, count in read["lengths"]["histogram"]) == 2 * 39


def test_numbers_that_are_none_are_null():
    read = survey(clean_labelled(4))
    scored = [ScoredExample(each, [-1.0]) for each in read.train.kept if each.labels == [True]]
    model = json.loads(Report.of(read, ModelScores("tiny", scored)).document())["model"]
    assert model["nats_per_token"]["other"] is None
    assert model["accuracy"] is None
    assert sorted(each["row"] for each in model["largest_loss"]) == [0, 2]


def test_the_severity_is_the_gravest(report):
    assert report.severity is Severity.ERROR
    assert Report.of(survey(clean_rows(40))).severity is Severity.INFO
    assert EXIT_CODES == {Severity.INFO: 0, Severity.WARNING: 3, Severity.ERROR: 4}


def test_lengths_are_those_before_truncation():
    rows = clean_rows(4)
    rows[2]["chosen"] = " go on" * 100
    report = Report.of(survey(rows, max_length=100))
    expected = [len(row["prompt"]) + len(row[side]) + 1 for row in rows for side in ("chosen", "rejected")]
    assert np.array_equal(report.lengths, expected)


def test_dropped_is_counted_by_reason():
    rows = clean_rows(9)
    rows[1]["chosen"] = rows[2]["chosen"] = " "
    rows[3]["rejected"] = rows[3]["chosen"]
    assert dropped(split(rows)) == {
        "with an empty completion": 2,
        "whose completions are identical after truncation": 1,
    }
