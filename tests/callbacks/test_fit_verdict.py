"""How a fit went, after it and in its record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger

from dpo_lightning.callbacks import KeepRecord
from dpo_lightning.callbacks.fit_verdict import verdict_of
from dpo_lightning.report.record import RunRecord, read_document
from tests.helpers.runs import data, module, trainer


def test_a_record_has_the_lines_with_the_number_of_pairs(tmp_path: Path) -> None:
    run: Any = trainer(logger=CSVLogger(str(tmp_path), version=0), callbacks=[KeepRecord()], max_steps=6)
    run.fit(module(), data(tmp_path))

    (line,) = verdict_of(run)
    assert line.startswith(f"held-out pairs: loss {run.callback_metrics['val/loss']:.4g}, reward accuracy ")
    assert "at 95%, n = 8)" in line
    found = read_document(RunRecord(Path(run.log_dir)).facts)
    assert found is not None
    assert found["verdict"] == [line]


def test_a_run_without_held_out_pairs_says_so(tmp_path: Path) -> None:
    run = trainer(callbacks=[KeepRecord()], logger=CSVLogger(str(tmp_path)))
    run.fit(module(), data(tmp_path, val_split=None))

    (line,) = verdict_of(run)
    assert line.startswith("no pairs were held out")
    found = read_document(RunRecord(Path(str(run.log_dir))).facts)
    assert found is not None
    assert found["verdict"] == [line]
