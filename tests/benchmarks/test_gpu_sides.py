"""The sides and kernels of `gpu.py` at work, on a CPU: tiny, all as they are on a GPU, and equal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu_job import Job
from benchmarks.gpu_report import derived, wrong
from benchmarks.gpu_rows import HEADS, SIDES, Asked, Row, rows_of
from benchmarks.gpu_side import figures_or_error, measure
from benchmarks.profiles import random_examples
from dpo_lightning.attention import flash3
from tests.attention.kernels.test_varlen import Kernel

WARMUP, STEPS, PAIRS = 1, 2, 2

pytestmark = [
    pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:The `srun` command is available"),
]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    examples = tmp_path / "examples.json"
    examples.write_text(json.dumps(random_examples("hh", (WARMUP + STEPS + 1) * PAIRS, 512, 200)))
    told = {"device": "cpu", "warmup": WARMUP, "steps": STEPS, "scratch": str(tmp_path), "rows": []}
    (tmp_path / "job.json").write_text(json.dumps({**told, "examples": {"tiny/hh": str(examples)}}))
    return Job(tmp_path / "job.json")


def step(mode: str, side: str) -> dict[str, Any]:
    return {"kind": "step", "model": "tiny", "mode": mode, "profile": "hh", "pairs": PAIRS, "side": side}


@pytest.mark.parametrize(
    ("mode", "sides"),
    [
        ("full", ["ours", "trl-best", "ours-stored", "ours-unguarded"]),
        ("lora", ["ours", "trl-best-stored", "ours-padded"]),
    ],
)
def test_sides_train_and_agree(mode: str, sides: list[str], job: Job) -> None:
    rows = {f"tiny/{mode}/hh/{side}": {**step(mode, side), **measure(job, step(mode, side))} for side in sides}
    work = {"tokens": 100, "scored": 50, "visible": 1000}
    results = {"rows": rows, "examples": {"tiny/hh": {"pairs": STEPS * PAIRS, "work": work}}}
    found = derived(results)
    assert wrong(found) == []
    for row in found.values():
        assert len(row["step_s"]) == STEPS
        assert len(row["losses"]) == WARMUP + STEPS + 1
        assert len(row["first_logps"]) == 2 * PAIRS
        assert row["first_gradient_norm"] > 0
        assert row["logp_difference"] < 1e-3
        assert 0 < row["gemm_share"] < 1
    last = [row["losses"][-1] for row in found.values()]
    assert max(last) - min(last) < 0.02
    ours = found[f"tiny/{mode}/hh/ours"]["losses"]
    assert max(abs(loss - ours[0]) for loss in ours) > 2e-5  # bf16 adapters move little in three steps


@pytest.mark.parametrize("trained", [True, False], ids=["trained", "frozen"])
@pytest.mark.parametrize("head", HEADS)
def test_heads_are_measured_against_float64(head: str, trained: bool, job: Job) -> None:
    settings = {"kind": "head", "model": "tiny", "rows": 32, "trained": trained, "head": head}
    row = measure(job, settings)
    assert wrong({head: row}) == []
    assert row["logp_error"] > 0
    assert row["both_ms"] > 0
    assert wrong({head: {**row, "gradient_error": 0.1}}) == [
        f"{head}: the gradient differs from float64 by 1.0e-01, more than 2e-02"
    ]


def test_ceilings_and_attention(job: Job) -> None:
    assert min(measure(job, {"kind": "ceilings", "model": "tiny"}).values()) > 0
    row = measure(job, {"kind": "attention", "model": "tiny", "profile": "hh", "pairs": PAIRS, "flash": None})
    assert row["kernel"] == "blocked"
    assert row["forward_tflops"] > 0


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "attention", "model": "tiny", "profile": "hh", "pairs": PAIRS, "flash": "fa3"},
        step("full", "ours-fa3"),
    ],
    ids=["kernel", "step"],
)
def test_flash_attention_3_is_in_force_for_its_rows_alone(
    settings: dict[str, Any], job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert figures_or_error(job, settings)["error"].startswith(("RunError: FlashAttention 3", "RunError: trainer."))
    told: list[str] = []
    monkeypatch.setattr("torch.nn.attention.activate_flash_attention_impl", told.append)
    monkeypatch.setattr("torch.nn.attention.restore_flash_attention_impl", lambda: told.append("torch's"))
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", Kernel())
    monkeypatch.setattr(flash3, "_may_have_it", lambda device: True)

    row = figures_or_error(job, settings)

    assert "error" not in row
    assert row.get("kernel", "fa3") == "fa3"
    assert told == ["FA3", "torch's"]


def test_an_exception_is_one_line(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nGPU 0 has ...")

    monkeypatch.setitem(__import__("benchmarks.gpu_kernels", fromlist=["KINDS"]).KINDS, "ceilings", fails)
    found = figures_or_error(job, {"kind": "ceilings", "model": "tiny"})
    assert found == {"error": "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB."}


def test_the_most_important_rows_come_first_and_those_of_a_process_together() -> None:
    rows = rows_of(Asked(["1b", "8b"], None, ["hh", "uf", "long"], list(SIDES)))
    processes = list(dict.fromkeys(row.process for row in rows))
    assert processes[:5] == ["kernels", "1b/full/ours", "1b/full/trl-best", "8b/lora/ours", "8b/lora/trl-best"]
    assert [row.process for row in rows] == [process for process in processes for row in rows if row.process == process]
    assert len({row.name for row in rows}) == len(rows) == 1 + 2 * 6 + 32 + 2 * 3 * len(SIDES)
    assert isinstance(rows[0], Row)
