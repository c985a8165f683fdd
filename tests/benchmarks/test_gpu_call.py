"""One call: what it runs in its budget, what it says of the rest, and how a second one goes on."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu_call, gpu_rows
from benchmarks.gpu_process import Measuring
from tools.docs import performance

CALL = ["--model", "tiny", "--device", "cpu", "--mode", "full", "--profile", "hh", "--steps", "2", "--warmup", "1"]
SIDES = ["--sides", "ours", "trl-best", "ours-padded", "--no-kernels"]
NAMES = ["tiny/full/hh/ours", "tiny/full/hh/trl-best", "tiny/full/hh/ours-padded"]


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_call, "Measuring", partial(Measuring, module="tests.benchmarks.gpu_stand_in"))
    monkeypatch.setattr(gpu_call, "describe", lambda: {"commit": "abc", "machine": {"cpu": "one"}})
    monkeypatch.setattr(gpu_call.signal, "signal", lambda *_: None)


def call(out: Path, *more: str, sides: list[str] = SIDES) -> int:
    return gpu_call.main([*CALL, *sides, "--out", str(out), "--shared", str(out.parent / "none"), *more])


def read(out: Path) -> dict[str, Any]:
    return json.loads(out.read_text())


def test_a_call_writes_rows_and_prints_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path / "gpu.json") == 0
    found = read(tmp_path / "gpu.json")
    assert list(found["rows"]) == NAMES
    assert found["not_run"] == []
    assert found["rows"][NAMES[0]]["side"] == "ours"
    assert found["examples"]["tiny/hh"]["pairs"] == 2 * 4
    out = capsys.readouterr().out
    assert "\ntiny/full/hh  1.50 (≥ 1.7)  1.00 (≤ 0.7)" in out
    assert max(map(len, out.splitlines())) <= 80
    assert "Not run" not in out


def test_kernels_come_first_and_a_row_that_fails_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path / "gpu.json", sides=["--sides", "ours"]) == 0
    rows = list(read(tmp_path / "gpu.json")["rows"])
    assert rows[0] == "ceilings"
    assert rows.index("tiny/full/hh/ours") == rows.index("head/tiny/64/frozen/plain") + 1
    out = capsys.readouterr().out
    assert "  ceilings: copy 4000 GB/s, product 800 TFLOP/s\n" in out
    assert "of peak" in out
    assert "\nattention/tiny/hh: InputError: not here\n" in out


def test_it_stops_in_its_budget_and_names_what_was_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "gpu.json"
    assert call(out, "--budget-s", "6") == 0  # less than a process and the table need
    assert read(out)["rows"] == {}
    said = capsys.readouterr().out
    assert said.endswith("\n  tiny/full/ours: hh\n  tiny/full/trl-best: hh\n  tiny/full/ours-padded: hh\n")
    # A side that is under way when the time is over has not failed: it was not run.
    monkeypatch.setitem(gpu_call.SECONDS_TO_START, "cpu", 0.0)
    monkeypatch.setenv("ACT:" + NAMES[0], "hang")
    assert call(out, "--budget-s", "5") == 0
    assert read(out)["not_run"] == NAMES


def test_a_second_call_adds_rows_and_tries_failed_ones_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "gpu.json"
    monkeypatch.setenv("ACT:" + NAMES[0], "crash")
    assert call(out, sides=["--sides", "ours", "ours-padded", "--no-kernels"]) == 0
    assert read(out)["rows"][NAMES[0]]["error"] == "ended by SIGSEGV"
    kept = read(out)["rows"][NAMES[2]]
    monkeypatch.setenv("ACT:" + NAMES[0], "figures")
    monkeypatch.setenv("ACT:" + NAMES[2], "crash")  # would be seen
    ran = []
    monkeypatch.setattr(gpu_call, "outcome", lambda figures: ran.append(figures) or "")
    assert call(out) == 0
    assert [row["step_s"][0] for row in ran] == [3.0, 2.0]  # TRL's, which is new, then ours, which had failed
    assert read(out)["rows"][NAMES[2]] == kept
    assert "error" not in read(out)["rows"][NAMES[0]]


def test_a_side_with_other_log_probs_fails_the_call_after_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACT:" + NAMES[2], "wrong")
    assert call(tmp_path / "gpu.json") == 1
    out = capsys.readouterr().out
    assert out.index("Ours over trl-best") < out.index(
        f"WRONG: {NAMES[2]}: log-probs differ from the median of the sides by 1.0e-02"
    )
    assert out.count("WRONG") == 1


def test_a_call_that_is_ended_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Measuring] = []

    def noted(*arguments: Any) -> Measuring:
        started.append(Measuring(*arguments, module="tests.benchmarks.gpu_stand_in"))
        return started[-1]

    def ends(figures: dict[str, Any]) -> str:
        raise SystemExit(143)

    monkeypatch.setattr(gpu_call, "Measuring", noted)
    monkeypatch.setattr(gpu_call, "CORES_TO_LOAD_AHEAD", 1)
    monkeypatch.setattr(gpu_call, "outcome", ends)
    monkeypatch.setenv("ACT:head/tiny/64/trained/ours", "hang")
    with pytest.raises(SystemExit):
        call(tmp_path / "gpu.json", sides=["--sides", "ours"])
    assert [process.rows[0].process for process in started] == ["kernels", "tiny/full/ours"]
    assert all(process._process.returncode is not None for process in started)


def test_a_file_of_something_else_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "gpu.json"
    call(out, sides=["--sides", "ours", "--no-kernels"])
    monkeypatch.setattr(gpu_call, "describe", lambda: {"commit": "def", "machine": {"cpu": "one"}})
    assert call(out) == 2
    assert "has rows of another commit: give another file" in capsys.readouterr().err
    out.write_text("[]")
    assert call(out) == 2
    assert "is no file of this benchmark" in capsys.readouterr().err
    assert out.read_text() == "[]"


def test_a_side_whose_package_is_missing_is_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_rows, "find_spec", lambda name: None)
    out, sides = tmp_path / "gpu.json", ["--sides", "ours", "ours-fa3", "trl-flash-attn", "--no-kernels"]
    assert call(out, sides=sides) == 0
    assert list(read(out)["rows"]) == NAMES[:1]
    assert read(out)["not_run"] == []
    reason = {"ours-fa3": "flash_attn_interface is not installed", "trl-flash-attn": "flash_attn is not installed"}
    assert read(out)["left_out"] == reason
    assert capsys.readouterr().out.endswith(
        "Left out: ours-fa3, since flash_attn_interface is not installed\n\n"
        "Left out: trl-flash-attn, since flash_attn is not installed\n"
    )
    monkeypatch.setattr(gpu_rows, "find_spec", lambda name: object())
    assert call(out, sides=["--sides", "ours", "ours-fa3"]) == 0
    assert read(out)["left_out"] == {}
    assert {name.rpartition("/")[2] for name in read(out)["rows"]} >= {"fa3", "ours-fa3"}


def test_rows_of_a_cpu_are_no_results() -> None:
    assert gpu_call.parse_arguments(["--device", "cpu"]).out.parts[-2:] == ("runs", "gpu.json")
    assert gpu_call.parse_arguments(["--device", "cuda"]).out == performance.GPU
