"""A process that measures: its figures come as they are made, and whatever ends it costs one line."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_process import Measuring
from benchmarks.gpu_rows import Row

STAND_IN = "tests.benchmarks.gpu_stand_in"


def measuring(folder: Path, *acts: str) -> Measuring:
    settings: list[dict[str, Any]] = [{"kind": "step", "side": "ours", "act": act} for act in acts]
    rows = [Row("abc"[place], "process", 0, each) for place, each in enumerate(settings)]
    return Measuring(rows, {"device": "cpu", "warmup": 1, "steps": 2, "examples": {}}, folder / "own", STAND_IN)


def test_rows_come_in_order_with_their_figures(tmp_path: Path) -> None:
    found = dict(measuring(tmp_path, "figures", "figures").measured(20, lambda: "late"))
    assert list(found) == ["a", "b"]
    assert found["a"]["step_s"] == [2.0, 2.0]


@pytest.mark.parametrize(
    ("act", "said"), [("crash", "ended by SIGSEGV"), ("fail", "ended with 1: no device here")], ids=["signal", "status"]
)
def test_the_row_that_ends_a_process_has_its_last_words(act: str, said: str, tmp_path: Path) -> None:
    found = dict(measuring(tmp_path, "figures", act, "figures").measured(20, lambda: "late"))
    assert found["b"] == {"error": said}
    assert set(found) == {"a", "b"}


def test_what_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    found = dict(measuring(tmp_path, "figures", "hang").measured(2, lambda: "stopped after 2 s"))
    assert found["b"] == {"error": "stopped after 2 s"}
    child = int((tmp_path / "own" / "child").read_text())
    deadline = time.monotonic() + 5
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(child)


def test_a_process_that_was_told_nothing_can_be_ended(tmp_path: Path) -> None:
    process = measuring(tmp_path, "figures")
    process.kill()
    assert dict(process.measured(5, lambda: "late")) == {"a": {"error": "ended by SIGKILL"}}


def is_running(pid: int) -> bool:
    """A zombie, whose parent may be slow to wait for it, has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
