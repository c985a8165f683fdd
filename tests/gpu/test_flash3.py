"""FlashAttention 3 on a GPU that has it: each kind of row against float64, and a run against one without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from dpo_lightning import FlashAttention3
from dpo_lightning.attention import flash3, use_flash_attention_3
from dpo_lightning.attention.kernels.varlen import VARLEN
from tests.attention.kernels.test_varlen import Kernel
from tests.attention.rows import RAGGED, SHORT, causal, window
from tests.gpu.devices import every
from tests.helpers.runs import Losses, data, module, trainer
from tests.test_gpu import LONG, LONGEST, assert_attends


@pytest.fixture(autouse=True)
def in_force(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names that torch was told to activate; on a CPU it is told nothing, and its kernel is a dense one."""
    names: list[str] = []
    if device.type == "cuda":
        pytest.importorskip("flash_attn_interface", reason="needs the package of FlashAttention 3")
        yield names
        torch.nn.attention.restore_flash_attention_impl()
        return
    monkeypatch.setattr("torch.nn.attention.activate_flash_attention_impl", names.append)
    monkeypatch.setattr("torch.nn.attention.restore_flash_attention_impl", names.clear)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", Kernel())
    monkeypatch.setattr(flash3, "_may_have_it", lambda device: True)
    yield names


@every(
    "segments, rule, sizes",
    [SHORT, RAGGED, LONG, LONGEST],
    [causal, window(100)],
    [{"width": 64}, {"width": 100}, {"query_heads": 8, "groups": 1, "width": 128}, {"width": 256}],
    cpu=[(RAGGED, window(2), {"width": 20})],
)
def test_it_attends_as_torchs_own_kernel(device: torch.device, segments: Any, rule: Any, sizes: dict[str, int]) -> None:
    use_flash_attention_3(device)
    assert_attends(device, VARLEN, segments, torch.bfloat16, rule, **sizes)


class Names(pl.Callback):
    """Keeps what torch says is in force in each step."""

    def __init__(self) -> None:
        self.seen: list[str | None] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.seen.append(torch.nn.attention.current_flash_attention_impl())


def test_a_run_by_it_is_the_run_without_it(device: torch.device, in_force: list[str], tmp_path: Path) -> None:
    def losses(*callbacks: pl.Callback) -> list[float]:
        recorder = Losses()
        settings: dict[str, Any] = {"accelerator": "gpu" if device.type == "cuda" else "cpu", "max_steps": 6}
        run = trainer(callbacks=[recorder, *callbacks], precision="bf16-mixed", **settings)
        run.fit(module(lr=1e-2), data(tmp_path))
        return recorder.losses

    names = Names()
    own, fast = losses(), losses(FlashAttention3(), names)

    assert fast == pytest.approx(own, abs=0.02)
    assert own[-1] < own[0] - 0.02
    assert set(names.seen) == ({"FA3"} if device.type == "cuda" else {None})
    assert torch.nn.attention.current_flash_attention_impl() is None
    assert in_force == []
