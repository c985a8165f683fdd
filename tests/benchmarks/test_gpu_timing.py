"""Clocks of a device: what a GPU would answer is given by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.autograd import DeviceType

from benchmarks import gpu_timing
from benchmarks.gpu_timing import DeviceRecorder, call_ms, kernel_class, kernel_times


class Event:
    """An event of a device on which each of them comes a millisecond after the one before."""

    made: list[Event] = []  # noqa: RUF012 - shared on purpose

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        self.place = len(self.made)
        self.made.append(self)

    def elapsed_time(self, later: Event) -> float:
        return float(later.place - self.place)


@pytest.fixture
def _device(monkeypatch: pytest.MonkeyPatch) -> None:
    Event.made.clear()
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)


def kernel(name: str, start: int, end: int, device: DeviceType = DeviceType.CUDA, note: bool = False) -> Any:
    times = SimpleNamespace(start=start, end=end, elapsed_us=lambda: end - start)
    return SimpleNamespace(name=name, time_range=times, device_type=device, is_user_annotation=note)


def profiled(*events: Any) -> Any:
    return SimpleNamespace(events=lambda: events, __exit__=lambda *_: None)


KERNELS = profiled(
    kernel("nvjet_hsh_256x128", 1000, 4000),
    kernel("nvjet_hsh_256x128", 4500, 5000),
    kernel("flash_fwd_kernel", 5000, 5500),
    kernel("cudaLaunchKernel", 0, 9000, DeviceType.CPU),
    kernel("Optimizer.step#AdamW.step", 1000, 6000, note=True),
    kernel("triton_poi_fused_mul_silu_3", 5500, 6000),
)


def test_kernels_are_summed_by_class_and_name() -> None:
    found = kernel_times(KERNELS, "cuda")
    assert found["step_ms"] == 5.0
    assert found["launches"] == 4
    assert found["classes_ms"] == {"gemm": 3.5, "attention": 0.5, "elementwise": 0.5}
    assert found["longest_ms"]["nvjet_hsh_256x128"] == 3.5
    assert kernel_times(profiled(), "cuda") == {}


@pytest.mark.usefixtures("_device")
def test_steps_are_clocked_by_events_and_the_last_is_profiled(monkeypatch: pytest.MonkeyPatch) -> None:
    class Profile:
        events = staticmethod(KERNELS.events)

        def __exit__(self, *_: Any) -> None:
            ended.append(True)

    ended: list[bool] = []
    monkeypatch.setattr(gpu_timing, "started_profile", lambda device: Profile())
    recorder = DeviceRecorder(2, 3, "cuda")
    recorder.see_logps(torch.tensor([-1.0]))
    weight = torch.nn.Parameter(torch.zeros(2))
    for step in range(recorder.all_steps):
        weight.grad = torch.tensor([3.0, 4.0]) * (step + 1)
        recorder.see_gradients([weight, torch.nn.Parameter(torch.zeros(1))])
        recorder.see_loss(torch.tensor(0.5))
        recorder.end_step()

    figures = recorder.figures()
    assert figures["step_s"] == pytest.approx([1e-3] * 3)
    assert len(figures["losses"]) == recorder.all_steps == 6
    assert figures["first_gradient_norm"] == 5.0
    assert figures["kernels"]["classes_ms"]["gemm"] == 3.5
    assert (len(Event.made), ended) == (5, [True])


@pytest.mark.usefixtures("_device")
@pytest.mark.parametrize(("device", "calls"), [("cuda", 1 + 1 + 20), ("cpu", 1 + 1 + 20)])
def test_calls_are_repeated_within_their_time(device: str, calls: int) -> None:
    made: list[int] = []
    found = call_ms(lambda: made.append(1), device, most=20, seconds=60)
    assert len(made) == calls
    assert found == 1.0 if device == "cuda" else found < 1000


NAMES: dict[str, str] = {
    "nvjet_hsh_128x256_64x4_2x1_v_bz_coopA_TNT": "gemm",
    "void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_relu>": "gemm",
    "void pytorch_flash::flash_bwd_dq_dk_dv_loop_seqk_parallel_kernel<cutlass::bfloat16_t>": "attention",
    "void at::native::multi_tensor_apply_kernel<FusedAdamMathFunctor>": "optimizer",
    "triton_red_fused__to_copy_add_mean_mul_pow_rsqrt_0": "elementwise",
    "Memcpy HtoD (Pinned -> Device)": "copy",
    "aten::mm": "gemm",
    "aten::mul": "elementwise",
}


@pytest.mark.parametrize(("name", "label"), NAMES.items())
def test_kernels_have_a_class(name: str, label: str) -> None:
    assert kernel_class(name) == label


def test_a_step_of_a_cpu_is_profiled_by_operators() -> None:
    profile = gpu_timing.started_profile("cpu")
    torch.ones(64, 64) @ torch.ones(64, 64)
    profile.__exit__(None, None, None)
    found = kernel_times(profile, "cpu")
    assert found["classes_ms"]["gemm"] > 0
    assert sum(found["classes_ms"].values()) <= found["step_ms"] * 1.5
