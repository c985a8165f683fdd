"""Planted imbalance of labels."""

from __future__ import annotations

import pytest

from dpo_lightning import UnpairedFormat
from dpo_lightning.data.inspect import Severity
from tests.data.inspect.common import clean_labelled, clean_rows, findings, survey


@pytest.mark.parametrize(
    ("desirable", "severity"), [(50, Severity.INFO), (10, Severity.INFO), (9, Severity.WARNING), (95, Severity.WARNING)]
)
def test_a_rare_label_is_a_warning(desirable, severity):
    rows = [{**row, "label": number < desirable} for number, row in enumerate(clean_labelled(100))]
    found = findings(survey(rows))["label balance"]
    assert found.severity is severity
    assert found.said == f"{desirable} of 100 completions ({desirable} %) are desirable"


def test_labels_are_counted_one_by_one():
    found = findings(survey(clean_rows(20), row_format=UnpairedFormat()))["label balance"]
    assert found.said == "20 of 40 completions (50 %) are desirable"


def test_pairs_have_no_labels():
    assert "label balance" not in findings(survey(clean_rows(20)))
