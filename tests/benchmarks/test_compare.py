"""The whole call, with processes that are not started, and two that are."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import compare
from benchmarks.compare import environment, run_process
from benchmarks.compare_sides import MALLOC

FIGURES = {
    "step_s": [0.5, 0.5],
    "losses": [0.7, 0.6, 0.5],
    "first_logps": [-10.0, -20.0],
    "peak_mib": 100.0,
    "cuda_peak_mib": None,
    "gemm_gflops": 10.0,
}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "results" / "compare.json"


def call(monkeypatch: pytest.MonkeyPatch, output: Path, *arguments: str, replies: dict[str, Any] | None = None) -> None:
    """Run the command, each side replying with its figures, or with those given."""

    def reply(module: str, spec: dict[str, Any], scratch: Path, *, malloc: bool) -> dict[str, Any]:
        assert json.dumps(spec)
        return {**FIGURES, **(replies or {}).get(spec.get("side", ""), {})}

    monkeypatch.setattr(compare, "run_process", reply)
    shape = ["--model", "tiny", "--steps", "2", "--warmup", "1", "--batch-pairs", "2", "--precision", "fp32"]
    monkeypatch.setattr(sys, "argv", ["compare.py", *shape, "--output", str(output), *arguments])
    compare.main()


def test_writes_results_and_a_plot(monkeypatch: pytest.MonkeyPatch, output: Path) -> None:
    call(monkeypatch, output, "--sides", "tree", "trl", "--runs", "2")
    results = json.loads(output.read_text())
    (case,) = results.values()
    assert list(results) == ["tiny/cpu/hh/full/fp32/2 pairs"]
    assert [len(runs) for runs in case["runs"].values()] == [2, 2]
    assert case["summary"]["ratios"]["pairs_per_s_over_fastest_trl"] == 1.0
    assert case["versions"]["trl"] == "1.16.0"
    assert output.with_suffix(".png").stat().st_size > 1000


def test_a_failed_side_is_one_line_and_keeps_the_others(
    monkeypatch: pytest.MonkeyPatch, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"^tiny/cpu/hh/full/fp32/2 pairs, trl: no memory$"):
        call(monkeypatch, output, "--sides", "trl", "tree", "--runs", "1", replies={"trl": {"error": "no memory"}})
    (case,) = json.loads(output.read_text()).values()
    assert case["runs"]["trl"] == [{**FIGURES, "error": "no memory"}]
    assert list(case["summary"]["sides"]) == ["tree"]
    assert "trl: failed: no memory" in capsys.readouterr().out


def test_other_log_probs_fail_the_call(monkeypatch: pytest.MonkeyPatch, output: Path) -> None:
    replies = {"tree": {"first_logps": [-10.0, -20.1]}}
    with pytest.raises(SystemExit, match=r"tree: log-probs differ from TRL's by 5.0e-03, more than 1e-05$"):
        call(monkeypatch, output, "--sides", "tree", "trl", "--runs", "1", replies=replies)


def test_a_sweep_keeps_the_case_and_is_drawn(monkeypatch: pytest.MonkeyPatch, output: Path) -> None:
    call(monkeypatch, output, "--sides", "tree", "--runs", "1")
    for sweep in ("batch", "length"):
        call(monkeypatch, output, "--sides", "tree", "padded", "--runs", "1", "--sweep", sweep)
        assert output.with_name(f"compare-{sweep}.png").stat().st_size > 1000
    cases = json.loads(output.read_text())
    assert len(cases) == 1 + len(compare.SWEEP_BATCHES) + len(compare.SWEEP_LENGTHS)
    assert list(cases["tiny/cpu/hh/full/fp32/2 pairs"]["runs"]) == ["tree"]


def test_a_process_returns_its_figures(tmp_path: Path) -> None:
    config = {"hidden_size": 8, "intermediate_size": 8, "vocab_size": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    spec = {"precision": "fp32", "device": "cpu", "config": {**config, **heads}}
    assert run_process("roofline", spec, tmp_path, malloc=True)["gemm_gflops"] > 0


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    spec = {"precision": "fp31", "device": "cpu", "config": {}}
    assert run_process("roofline", spec, tmp_path, malloc=False) == {"error": "KeyError: 'hidden_size'"}


def test_malloc_is_the_sides_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in MALLOC:
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.top_pad=7")
    assert not {*MALLOC, "GLIBC_TUNABLES"} & set(environment(tmp_path, malloc=False))
    assert MALLOC.items() <= environment(tmp_path, malloc=True).items()
