"""The report that a fit of the command ends with: a look at a sample of its data, and the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info

from dpo_lightning import PreferenceDataModule, PreferenceModule
from dpo_lightning.cli.surveys import survey
from dpo_lightning.data.inspect import Report
from dpo_lightning.report.page.whole import write_report
from dpo_lightning.report.record import RunRecord, read_document, write_document
from dpo_lightning.utils.text import one_line

MOST_ROWS = 2_000
"""Rows of a split that the doctor looks at when a fit ends."""


def report_of_fit(directory: Path, data: Any, model: Any, verdict: Sequence[str] = ()) -> None:
    """Write verdict, `data.json` and page of a run that has left a record; what fails costs a line, and never the run.

    Args:
        directory: That of the run.
        data: Its DataModule; of a foreign one, and of rows that stream, there is no look at the data.
        model: Its module, whose objective says what is read of the rows.
        verdict: Lines on how it went, which the page begins with.
    """
    record = RunRecord(directory)
    if not record.facts.exists():
        return
    if verdict:
        with _costs_a_line("the record has no verdict"):
            write_document(record.facts, {**(read_document(record.facts) or {}), "verdict": [*verdict]})
    if isinstance(data, PreferenceDataModule) and not data.streaming:
        with _costs_a_line("the data was not looked at for the report"):
            read = model.data_read() if isinstance(model, PreferenceModule) else None
            seen = survey(data, data.tokenizer, read, most_rows=MOST_ROWS, bar=_no_bar)
            write_document(record.data, Report.of(seen).as_json())
    with _costs_a_line("there is no report"):
        write_report([directory])


@contextmanager
def _costs_a_line(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever it is, the run has ended well
        rank_zero_info(f"{what}: {one_line(error)}")


@contextmanager
def _no_bar(text: str, rows: int) -> Iterator[Callable[[int], Any]]:
    yield lambda count: None
