"""FlashAttention 3 asked for: used where it is right, refused in one line otherwise, torch's own kernel back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor

from dpo_lightning import FlashAttention3
from dpo_lightning.attention import flash3, use_flash_attention_3
from dpo_lightning.cli.main import main
from dpo_lightning.errors import InputError, RunError
from tests.attention.kernels.test_varlen import Kernel, KernelOfTorch211
from tests.helpers.runs import data, module, saved_model, trainer, write_rows

CPU = torch.device("cpu")


@pytest.fixture
def active(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the implementations that torch was told to use; its flash kernel is the dense one of the tests."""
    names: list[str] = []
    monkeypatch.setattr("torch.nn.attention.activate_flash_attention_impl", names.append)
    monkeypatch.setattr("torch.nn.attention.restore_flash_attention_impl", names.clear)
    current = "torch.nn.attention.current_flash_attention_impl"
    monkeypatch.setattr(current, lambda: names[-1] if names else None, raising=False)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", Kernel())
    monkeypatch.setattr(flash3, "_may_have_it", lambda device: True)
    return names


def test_it_stays_in_force_where_it_is_right(active: list[str]) -> None:
    use_flash_attention_3(CPU)

    assert active == ["FA3"]


@pytest.mark.parametrize("part", ["forward", "backward"])
def test_one_that_computes_something_else_is_not_used(
    part: str, active: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(KernelOfTorch211):
        def __call__(self, query: Tensor, *rest: Any, **options: Any) -> Tensor:
            output = super().__call__(query, *rest, **options)
            return output * 1.05 if part == "forward" else output + 0.05 * (query - query.detach())

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", Wrong())
    with pytest.raises(RunError, match=r"is off by 0\.\d+ of the norm of an output or gradient, so it is not used"):
        use_flash_attention_3(CPU)

    assert active == []


def test_one_that_fails_is_not_used(active: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, scale: float, window_size: tuple[int, int]) -> Tensor:
        raise ValueError("FA3 requires compute capability 9.0")

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", failing)
    with pytest.raises(RunError, match=r"does not run here: FA3 requires compute capability 9\.0"):
        use_flash_attention_3(CPU)

    assert active == []


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match="cannot be used: it needs a Hopper GPU, and the device is a cpu"):
        use_flash_attention_3(CPU)
    monkeypatch.setattr(flash3, "_may_have_it", lambda device: True)
    with pytest.raises(RunError, match="cannot be used: ModuleNotFoundError: No module named 'flash_attn_interface'"):
        use_flash_attention_3(CPU)
    monkeypatch.delattr("torch.nn.attention.activate_flash_attention_impl")
    with pytest.raises(RunError, match=r"cannot be used: torch 2\S+ has no torch\.nn\.attention\.activate"):
        use_flash_attention_3(CPU)


class Watches(pl.Callback):
    """Notes what is in force while a batch is trained on, and may fail there."""

    def __init__(self, active: list[str], fault: BaseException | None = None) -> None:
        self.active, self.fault = active, fault
        self.seen: list[list[str]] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.seen.append([*self.active])
        if self.fault is not None:
            raise self.fault


def fitted(path: Path, *callbacks: pl.Callback, **settings: Any) -> None:
    run = trainer(callbacks=[*callbacks], **{"precision": "bf16-mixed", "max_steps": 2, **settings})
    run.fit(module(), data(path))


def test_a_run_has_it_from_its_setup_to_its_end(active: list[str], tmp_path: Path) -> None:
    watch = Watches(active)
    fitted(tmp_path, FlashAttention3(), watch)

    assert watch.seen == [["FA3"], ["FA3"]]
    assert active == []


@pytest.mark.parametrize("fault", [ValueError("a fault"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_run_that_fails_gives_torchs_kernel_back(fault: BaseException, active: list[str], tmp_path: Path) -> None:
    watch = Watches(active, fault)
    with pytest.raises((ValueError, SystemExit, KeyboardInterrupt)):
        fitted(tmp_path, FlashAttention3(), watch)

    assert watch.seen == [["FA3"]]
    assert active == []


def test_what_another_switched_on_stays_on(active: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A callback that was refused has nothing to give back."""
    active.append("FA4")
    monkeypatch.setattr(flash3, "_may_have_it", lambda device: False)
    with pytest.raises(RunError):
        fitted(tmp_path, FlashAttention3())

    assert active == ["FA4"]


def test_what_was_in_force_before_a_run_is_after_it(active: list[str], tmp_path: Path) -> None:
    active.append("FA4")
    fitted(tmp_path, FlashAttention3(), watch := Watches(active))

    assert watch.seen[0][-1] == "FA3"
    assert active == ["FA4"]


def test_a_run_in_float32_is_refused(active: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"would never run with trainer\.precision: 32-true.*: set that to bf16-mixed"):
        fitted(tmp_path, FlashAttention3(), precision="32-true")

    assert active == []


def test_a_rank_without_it_stops_them_all(active: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(flash3, "from_all_ranks", lambda problem: [problem, "FlashAttention 3 does not run there"])
    with pytest.raises(RunError, match=r"trainer\.callbacks: FlashAttention 3 does not run there: leave .* out"):
        fitted(tmp_path, FlashAttention3())

    assert active == []


@pytest.mark.parametrize("name", ["FlashAttention3", "dpo_lightning.FlashAttention3"])
def test_the_command_takes_its_name_and_says_in_one_line_what_is_missing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", f"--model.policy={saved_model(tmp_path / 'model')}", f"--trainer.callbacks={name}"]
    words += [f"--data.dataset={write_rows(tmp_path / 'pairs.jsonl')}", "--trainer.precision=bf16-mixed"]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([*words, "--trainer.accelerator=cpu"])

    assert ended.value.code == (
        "error: trainer.callbacks: FlashAttention 3 cannot be used: it needs a Hopper GPU, and the device is a cpu: "
        "leave FlashAttention3 out to train with torch's own kernel"
    )


def test_the_command_trains_with_it_and_says_so(
    active: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["fit", f"--model.policy={saved_model(tmp_path / 'model')}", "--trainer.callbacks=FlashAttention3"]
    words += [f"--data.dataset={write_rows(tmp_path / 'pairs.jsonl')}", "--trainer.precision=bf16-mixed"]
    monkeypatch.chdir(tmp_path)
    with caplog.at_level("INFO"):
        main([*words, "--trainer.accelerator=cpu", "--trainer.max_steps=1", "--trainer.logger=false"])

    assert [record.message for record in caplog.records].count(
        "FlashAttention 3 runs in place of torch's flash kernel: its trial came out right"
    ) == 1
    assert active == []
