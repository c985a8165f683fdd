"""The report that a fit ends with."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo_lightning import PreferenceDataModule
from dpo_lightning.cli import fit_report
from dpo_lightning.cli.fit_report import report_of_fit
from dpo_lightning.report.record import RunRecord, read_document
from tests.data.common import data, write
from tests.data.inspect.common import clean_rows
from tests.helpers.recorded import write_run
from tests.helpers.tiny import tiny_tokenizer


@pytest.fixture
def rows(tmp_path: Path) -> str:
    return write(tmp_path / "train.jsonl", clean_rows(30))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    directory = write_run(tmp_path / "run")
    RunRecord(directory).data.unlink()
    return directory


def test_a_sample_of_the_data_is_looked_at_and_the_page_written(run, rows, monkeypatch) -> None:
    monkeypatch.setattr(fit_report, "MOST_ROWS", 20)
    report_of_fit(run, data(rows), None)
    seen = read_document(RunRecord(run).data)
    assert seen is not None
    assert (seen["splits"]["train"]["looked_at"], seen["splits"]["train"]["rows"]) == (20, 30)
    assert "This is a sample of the rows" in (run / "report.html").read_text(encoding="utf-8")


def test_a_foreign_module_and_a_stream_have_a_page_without_a_look(run, rows) -> None:
    for module in (object(), None, PreferenceDataModule(rows, tiny_tokenizer(), streaming=True)):
        report_of_fit(run, module, object())
        assert not RunRecord(run).data.exists()
        assert "The doctor has not looked" in (run / "report.html").read_text(encoding="utf-8")


def test_what_fails_costs_a_line(run, rows, monkeypatch, caplog) -> None:
    Path(rows).unlink()
    with caplog.at_level("INFO"):
        report_of_fit(run, data(rows), None)
    assert (run / "report.html").exists()
    RunRecord(run).hints.write_text("x\n", encoding="utf-8")
    with caplog.at_level("INFO"):
        report_of_fit(run, None, None)
    first, second = caplog.messages
    assert first.startswith("the data was not looked at for the report: ")
    assert second.startswith("there is no report: ")
    assert "hints.jsonl, line 1" in second


def test_a_run_without_a_record_has_no_report(tmp_path) -> None:
    report_of_fit(tmp_path, None, None)
    assert not [*tmp_path.iterdir()]


def test_the_verdict_of_the_end_stands_in_the_record_and_at_the_head_of_the_page(run) -> None:
    report_of_fit(run, None, None, ["held-out pairs: loss 0.5", "warning: the text is <likely> broken"])
    facts = read_document(RunRecord(run).facts)
    assert facts is not None
    assert facts["verdict"][1] == "warning: the text is <likely> broken"
    assert facts["status"] == "finished"
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "warning: the text is &lt;likely&gt; broken" in page.partition("<section")[0]
