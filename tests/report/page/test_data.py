"""The doctor's look at the data, from its JSON."""

from __future__ import annotations

import json

from dpo_lightning.data.inspect import Report
from dpo_lightning.report.page.data import data
from tests.data.inspect.common import clean_rows, survey
from tests.helpers.recorded import data_document
from tests.report.page.common import run, words


def test_all_that_the_doctor_writes_is_there() -> None:
    rows = clean_rows(40)
    rows[3]["chosen"] = ""
    report = Report.of(survey(rows, max_length=500))
    said = words(data(run(data=json.loads(report.document()))))
    assert report.findings
    for finding in report.findings:
        assert finding.name in said
        assert finding.said[1:] in said
        assert finding.remedy in said.replace("  ", " ") or "`" in finding.remedy
    assert "train 40 40 0 40 39" in said
    assert "data.max_length is 500" in said


def test_a_sample_is_called_one() -> None:
    assert "This is a sample" in words(data(run(data=data_document())))
    whole = data_document()
    whole["splits"]["train"]["looked_at"] = 4000
    assert "This is a sample" not in words(data(run(data=whole)))


def test_the_gravest_finding_is_first() -> None:
    findings = [{"name": each, "severity": each} for each in ("info", "error", "warning")]
    source = words(data(run(data={"findings": findings})))
    assert source.index("error error") < source.index("warning warning") < source.index("info info")


def test_without_a_look_it_says_how_to_have_one() -> None:
    assert "dpo-lightning inspect --config config.yaml" in words(data(run()))


def test_strange_contents_are_left_out() -> None:
    strange = {
        "splits": {"a": 3, "b": {"rows": "x"}},
        "findings": [3],
        "lengths": {"histogram": [[1, 2], "x", [1, 2, 3]]},
    }
    source = "".join(data(run(data=strange)))
    assert source.count('class="bin"') == 1
    assert "b none" in words([source])
