"""Samples of a record that are shown elsewhere."""

from __future__ import annotations

from pathlib import Path

from dpo_lightning.report.record import RunRecord, add_row
from dpo_lightning.report.recorded_samples import shown_samples


def test_those_of_the_last_step_are_shown(tmp_path: Path) -> None:
    record = RunRecord(tmp_path)
    assert shown_samples(record, 3) == shown_samples(None, 3) == []
    for step in (0, 5):
        for prompt in "abc":
            add_row(record.samples, {"step": step, "prompt": prompt})
    assert shown_samples(record, 2) == [{"step": 5, "prompt": "a"}, {"step": 5, "prompt": "b"}]
    assert shown_samples(record, 0) == []
    record.samples.write_text("damaged\n")
    assert shown_samples(record, 2) == []
