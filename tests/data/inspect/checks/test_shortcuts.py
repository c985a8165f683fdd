"""Planted shortcuts: what tells the better completion without reading it."""

from __future__ import annotations

import random

import pytest

from dpo_lightning.data.inspect import Severity
from tests.data.inspect.common import clean_labelled, clean_rows, findings, survey, survey_in_words

NAMES = ("length bias", "first token", "layout", "source column", "overlap")


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_no_finding(seed):
    rng = random.Random(seed)
    rows = [
        {**row, "chosen_model": rng.choice("abc"), "rejected_model": rng.choice("abc")} for row in clean_rows(400, seed)
    ]
    assert not set(NAMES) & findings(survey(rows)).keys()


def test_the_longer_one():
    rows = [
        {**row, "chosen": row["chosen"] + " and that is all there is to say" * (n % 4 > 0)}
        for n, row in enumerate(clean_rows(200))
    ]
    found = findings(survey(rows))["length bias"]
    assert found.severity is Severity.WARNING
    assert found.said.startswith("the longer completion is preferred in 8")
    assert "(95 % interval" in found.said


def test_the_shorter_one_among_labels():
    rows = [{**row, "completion": row["completion"] * (1 if row["label"] else 2)} for row in clean_labelled(200)]
    assert findings(survey(rows))["length bias"].said.startswith("the shorter completion is preferred")


def test_a_small_bias_is_for_information():
    rng = random.Random(0)
    rows = [{**row, "chosen": row["chosen"] + " and more" * (rng.random() < 0.25)} for row in clean_rows(600)]
    assert findings(survey(rows))["length bias"].severity is Severity.INFO


def test_the_first_token():
    rows = [{**row, "chosen": "So," + row["chosen"], "rejected": "No,," + row["rejected"]} for row in clean_rows(100)]
    found = findings(survey(rows))["first token"]
    assert found.severity is Severity.WARNING
    assert "('S' is preferred most, 'N' least): right in 100.0 % of held-out comparisons" in found.said
    in_words = findings(survey_in_words(rows))["first token"]
    assert "the first of a completion's words" in in_words.said
    assert "'So,'" in in_words.said


def test_the_layout():
    rows = [
        {**row, "rejected": row["rejected"] + ("\n- this\n- that." if n % 2 else " this that.")}
        for n, row in enumerate(clean_rows(200))
    ]
    found = findings(survey(rows))["layout"]
    assert found.severity is Severity.WARNING
    assert found.said.startswith("completions without bullet points are preferred: right in 7")


def test_the_source():
    rng = random.Random(0)
    rows = [
        {
            **row,
            "chosen_model": rng.choice(["big", "big", "small"]),
            "rejected_model": rng.choice(["big", "small", "small"]),
        }
        for row in clean_rows(400)
    ]
    found = findings(survey(rows))["source column"]
    assert found.severity is Severity.WARNING
    assert found.said.startswith("`chosen_model` and `rejected_model` tells the preferred completion ('big' most")


def test_the_source_in_a_mapping():
    rows = [{**row, "chosen_meta": {"by": "us"}, "rejected_meta": {"by": "them"}} for row in clean_rows(100)]
    said = findings(survey(rows))["source column"].said
    assert said.startswith("`chosen_meta.by` and `rejected_meta.by` tells the preferred completion ('us' most")


def test_a_label_and_a_score_are_no_source():
    labelled = [{**row, "label": "good" if row["label"] else "bad"} for row in clean_labelled(200)]
    assert "source column" not in findings(survey(labelled))
    rows = [{**row, "chosen_score": "4.5", "rejected_score": "-1"} for row in clean_rows(100)]
    assert "source column" not in findings(survey(rows)), "as in a CSV"


def test_the_source_of_labelled_completions():
    rows = [{**row, "by": "us" if row["label"] else "them", "set": "one"} for row in clean_labelled(200)]
    found = findings(survey(rows))["source column"]
    assert found.said.startswith("`by` tells the preferred completion ('us' most, 'them' least): right in 100.0 %")


def test_the_completions_are_no_source():
    rows = [{"prompt": f"Is {n} even?", "chosen": f"yes {n % 2}", "rejected": f"no {n % 2}"} for n in range(200)]
    assert "source column" not in findings(survey(rows))
    assert "source column" in findings(survey([{**row, "chosen_by": "a", "rejected_by": "b"} for row in rows]))


def test_sides_that_are_nearly_alike():
    rows = clean_rows(20)
    rows[4]["rejected"] = rows[4]["chosen"].replace("a", "e", 1)
    rows[5]["rejected"] = rows[5]["chosen"] + "!"
    rows[6]["rejected"] = rows[6]["chosen"][: len(rows[6]["chosen"]) // 2]
    found = findings(survey(rows))["overlap"]
    assert (found.severity, found.rows) == (Severity.INFO, {"train": [4, 5]})
    for row in rows[:12]:
        row["rejected"] = row["chosen"] + "!"
    assert findings(survey(rows))["overlap"].severity is Severity.WARNING
