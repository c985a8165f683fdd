"""The report that a fit of the command ends with: a look at a sample of its data, and the page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info

from dpo_lightning import PreferenceDataModule, PreferenceModule
from dpo_lightning.cli.surveys import survey
from dpo_lightning.data.inspect import Report
from dpo_lightning.report.page.whole import write_report
from dpo_lightning.report.record import RunRecord, write_document
from dpo_lightning.utils.files import from_here
from dpo_lightning.utils.text import one_line

MOST_ROWS = 2_000
"""Rows of a split that the doctor looks at when a fit ends."""


def report_of_fit(directory: Path, data: Any, model: Any) -> None:
    """Write `data.json` and the page of a run that has left a record; what fails costs a line, and never the run.

    Args:
        directory: That of the run.
        data: Its DataModule; of a foreign one, and of rows that stream, there is no look at the data.
        model: Its module, whose objective says what is read of the rows.
    """
    record = RunRecord(directory)
    if not record.facts.exists():
        return
    if isinstance(data, PreferenceDataModule) and not data.streaming:
        with _costs_a_line("the data was not looked at for the report"):
            read = model.data_read() if isinstance(model, PreferenceModule) else None
            seen = survey(data, data.tokenizer, read, most_rows=MOST_ROWS)
            write_document(record.data, Report.of(seen).as_json())
    with _costs_a_line("there is no report"):
        write_report([directory])


def report_of_stop(directory: Path) -> None:
    """Write the page of a run that was stopped or failed, from its record alone, and say where it is.

    Args:
        directory: That of the run.
    """
    if RunRecord(directory).facts.exists():
        with _costs_a_line("there is no report"):
            rank_zero_info(f"report in {from_here(write_report([directory]))}")


@contextmanager
def _costs_a_line(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever it is, it is not what the run ended with
        rank_zero_info(f"{what}: {one_line(error)}")
