"""The formulas and the measurements agree."""

from __future__ import annotations

import json
import runpy
import sys

import pytest

from benchmarks import memory_check

CASES = json.loads(memory_check.RESULTS.read_text(encoding="utf-8"))["cases"]


@pytest.mark.parametrize("result", CASES, ids=lambda result: "-".join(map(str, result["case"].values())))
def test_what_was_measured_is_what_is_predicted(result):
    predicted, measured = memory_check.predict(result["case"]), result["measured"]
    assert predicted == result["predicted"], "run python -m benchmarks.memory_check"
    for term in ("weights", "reference", "gradients", "optimizer"):
        assert predicted[term] == measured[term]
    # A CPU's attention computes blocks of which some is masked, and a checkpointed layer's head products differ.
    assert predicted["flops"] == pytest.approx(measured["flops"], rel=0.1)
    near = 0.05 if result["case"]["architecture"] == "llama" else 0.25
    assert predicted["saved"] == pytest.approx(measured["saved"], rel=near)
    # Under checkpointing autocast's copies are gone before a layer is recomputed: their sum is a bound from above.
    most = 1.45 if result["case"]["checkpointing"] else 1.05
    assert 0.85 < predicted["peak"] / measured["peak"] < most


def test_allocated_bytes_are_counted_until_they_are_freed():
    import torch

    before = torch.zeros(1000)
    with memory_check.AllocatedBytes() as allocated:
        allocated.ignore([before])
        kept = before + 1
        view = kept[:10]
        view.mul_(2)
        assert allocated.now == allocated.peak == 4000
        other = kept.double()
        del other
        assert (allocated.now, allocated.peak) == (4000, 12000)


def test_a_measured_case_of_today_is_as_it_was(monkeypatch):
    """Not its peak, which depends on the version of torch."""
    result = CASES[0]
    measured = memory_check.measure(result["case"])
    for term in ("weights", "reference", "gradients", "optimizer", "saved", "flops"):
        assert measured[term] == pytest.approx(result["measured"][term], rel=0.01)


@pytest.mark.parametrize("name", ["memory_check", "compare_plots"])
def test_help_is_shown(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    monkeypatch.delitem(sys.modules, f"benchmarks.{name}", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    assert ended.value.code == 0
    assert "usage:" in capsys.readouterr().out
