"""The report that a fit ends with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.utilities.exceptions import SIGTERMException

from dpo_lightning import PreferenceDataModule
from dpo_lightning.cli import fit_report
from dpo_lightning.cli.fit_report import report_of_fit, report_of_stop
from dpo_lightning.cli.run_end import SaysHowToGoOn
from dpo_lightning.cli.trainer import PreferenceCLI
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


@pytest.mark.parametrize("ended_by", [SIGTERMException, KeyboardInterrupt, ValueError])
def test_a_fit_that_is_stopped_or_fails_leaves_its_page_and_its_error(run, caplog, ended_by) -> None:
    def fit(model: Any) -> None:
        assert model == "model"
        raise ended_by

    command = object.__new__(PreferenceCLI)
    command.__dict__ |= {"trainer": SimpleNamespace(fit=fit, is_global_zero=True), "_end": SaysHowToGoOn()}
    with pytest.raises(ended_by):
        command.fit(model="model")
    assert not (run / "report.html").exists()  # training had not begun
    command.__dict__["_end"].config = run / "config.yaml"
    with pytest.raises(ended_by), caplog.at_level("INFO"):
        command.fit(model="model")
    assert (run / "report.html").exists()
    assert caplog.messages[-1].endswith("report.html")
    RunRecord(run).hints.write_text("x\n", encoding="utf-8")
    with pytest.raises(ended_by), caplog.at_level("INFO"):
        command.fit(model="model")
    assert caplog.messages[-1].startswith("there is no report: ")


def test_a_run_without_a_record_has_no_report(tmp_path) -> None:
    report_of_fit(tmp_path, None, None)
    report_of_stop(tmp_path)
    assert not [*tmp_path.iterdir()]
