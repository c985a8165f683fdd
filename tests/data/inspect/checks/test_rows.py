"""Planted faults in rows as they are read."""

from __future__ import annotations

from dpo_lightning import ScoredPairsFormat
from dpo_lightning.data.inspect import Severity
from tests.data.inspect.common import clean_rows, findings, survey


def test_a_refused_row_is_an_error_with_its_reason():
    rows = clean_rows(20)
    rows[7]["chosen"] = None
    found = findings(survey(rows, rows[8:]))["refused rows"]
    assert found.severity is Severity.ERROR
    assert found.rows == {"train": [7]}
    assert "train row 7: field `chosen`" in found.said
    assert "1 of 32 rows (3.1 %)" in found.said


def test_columns_that_nobody_reads_are_named_with_their_rows():
    rows = [{**row, "id": number, "empty": None} for number, row in enumerate(clean_rows(20))]
    found = findings(survey(rows))["unread columns"]
    assert found.severity is Severity.INFO
    assert found.said == "RowFormat leaves `id` (20 rows)"


def test_a_column_that_changes_the_row_is_an_error():
    rows = clean_rows(20)
    rows = [{**row, "system": "be kind" if number < 5 else ""} for number, row in enumerate(rows)]
    found = findings(survey(rows))["refused columns"]
    assert found.severity is Severity.ERROR
    assert "column `system` (5 of 20 rows)" in found.said


def test_a_third_that_is_lost_is_a_warning():
    rows = clean_rows(30)
    for row in rows[:10]:
        row["rejected"] = row["chosen"]
    found = findings(survey(rows))
    assert found["lost rows"].severity is Severity.WARNING
    assert found["lost rows"].said.startswith("10 of 30 examples")
    rows[0]["rejected"] = " another."
    assert "lost rows" not in findings(survey(rows))


def test_nothing_left_is_an_error():
    rows = [{**row, "chosen": ""} for row in clean_rows(3)]
    assert findings(survey(rows))["nothing left"].severity is Severity.ERROR


def test_rows_that_prefer_nothing():
    rows = [{"prompt": f"{n}?", "completions": [" a", " b"], "scores": [1.0, 2.0 - (n == 4)]} for n in range(20)]
    row_format = ScoredPairsFormat(score="scores")
    found = findings(survey(rows, row_format=row_format))["no preference"]
    assert (found.severity, found.rows) == (Severity.INFO, {"train": [4]})
    rows[7]["scores"] = [2.0, 2.0]
    assert findings(survey(rows, row_format=row_format))["no preference"].severity is Severity.WARNING, "a tenth"
