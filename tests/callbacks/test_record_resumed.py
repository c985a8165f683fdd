"""A run that is killed, and goes on, has the one curve of a run that was not."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from dpo_lightning.callbacks import KeepRecord
from dpo_lightning.report.record import RunRecord, read_document, read_rows
from tests.helpers.resumable import Case, noted, prepare, start, stop_after, wait
from tests.helpers.runs import MEASURED


def record() -> list[KeepRecord]:
    """What keeps the record, in a process of its own."""
    return [KeepRecord()]


def points(run: Path) -> list[dict[str, Any]]:
    """The points of a run but what its process takes."""
    rows = read_rows(RunRecord(run).points)
    left_out = {"seconds", "epoch", *MEASURED}
    return [{name: value for name, value in row.items() if name not in left_out} for row in rows]


def test_a_killed_run_goes_on_with_its_curve(tmp_path: Path) -> None:
    prepare(tmp_path)
    runs = tmp_path / "whole", tmp_path / "killed"
    cases = [Case(callbacks=record, trainer={"default_root_dir": str(run)}) for run in runs]
    processes = start(tmp_path, runs[0], cases[0])
    assert wait(processes) == [0], (runs[0] / "output-0.txt").read_text()[-3000:]

    processes = start(tmp_path, runs[1], cases[1])
    stop_after(processes, runs[1], 20, 0.05, signal.SIGKILL)
    assert wait(processes) == [-signal.SIGKILL]
    facts = read_document(RunRecord(runs[1]).facts)
    assert facts is not None
    assert (facts["status"], facts["ended"]) == ("running", None)
    killed = points(runs[1])
    assert killed == points(runs[0])[: len(killed)]
    assert len(killed) > 3

    assert wait(start(tmp_path, runs[1], cases[1])) == [0], (runs[1] / "output-0.txt").read_text()[-3000:]
    assert points(runs[1]) == points(runs[0])
    assert noted(runs[1]) == noted(runs[0])
    facts = read_document(RunRecord(runs[1]).facts)
    assert facts is not None
    assert facts["status"] == "finished"
    assert len(facts["resumed"]) == 1
    assert [row["pair_id"] for row in read_rows(RunRecord(runs[1]).pairs)] == [*range(6)]
