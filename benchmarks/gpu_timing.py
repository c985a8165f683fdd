"""Clocks of `gpu.py`: events on the device, medians of a kernel, and what the kernels of one step are."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.recording import Recorder

_CLASSES = (
    ("attention", r"flash|fmha|varlen|flex_attention|attention"),
    ("gemm", r"gemm|gemv|nvjet|cutlass|cublas|xmma|splitkreduce|aten::(mm|addmm|bmm|baddbmm)\b"),
    ("optimizer", r"multi_tensor_apply|adam|foreach"),
    ("copy", r"memcpy|memset|direct_copy|copy_kernel|aten::copy_"),
)
"""Classes of kernels by name, the first that fits; all others are elementwise work and reductions."""


class DeviceRecorder(Recorder):
    """Clocks the steps on the device, so that the host may run ahead, and profiles the step after the measured ones.

    Args:
        warmup: Steps that are trained and not counted.
        steps: Steps that are counted.
        device: `cuda` or `cpu`, where the host's clock is taken.
    """

    def __init__(self, warmup: int, steps: int, device: str) -> None:
        super().__init__(warmup)
        self._last, self._device = warmup + steps, device
        self._events: list[Any] = []
        self._gradient_norm: Tensor | None = None
        self._profile: Any = None
        self.kernels: dict[str, Any] = {}

    @property
    def all_steps(self) -> int:
        """Steps to train: warm-up, measured, and the one that is profiled."""
        return self._last + 1

    def see_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Keep the norm of the first step's gradients, in float32."""
        if self._gradient_norm is None:
            gradients = [each.grad for each in parameters if each.grad is not None]
            norms = [torch.linalg.vector_norm(each, dtype=torch.float32) for each in gradients]
            self._gradient_norm = torch.stack(norms).norm()

    def end_step(self) -> None:
        """Mark the end of this step on the device."""
        if self._profile is not None:
            self._profile.__exit__(None, None, None)
            self.kernels, self._profile = kernel_times(self._profile, self._device), None
            return
        if self._device == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._events.append(event)
        else:
            self._ends.append(time.perf_counter())
        if max(len(self._events), len(self._ends)) == self._last:
            self._profile = started_profile(self._device)

    def figures(self) -> dict[str, Any]:
        """Those of `Recorder`, the first gradient norm, and milliseconds of the kernels of one step."""
        if self._events:
            torch.cuda.synchronize()
            self._ends = [self._events[0].elapsed_time(event) / 1e3 for event in self._events]
        norm = None if self._gradient_norm is None else self._gradient_norm.item()
        return {**super().figures(), "first_gradient_norm": norm, "kernels": self.kernels}


def started_profile(device: str) -> Any:
    """A profiler that runs; a waiting device first, so that it sees one step alone."""
    if device == "cuda":
        torch.cuda.synchronize()
    return profile(activities=[ProfilerActivity.CUDA if device == "cuda" else ProfilerActivity.CPU]).__enter__()


def kernel_times(profiled: Any, device: str) -> dict[str, Any]:
    """Milliseconds of each class of kernels, of the whole step, and of the longest kernels, by name."""
    on_device = DeviceType.CUDA if device == "cuda" else DeviceType.CPU
    events = [event for event in profiled.events() if event.device_type == on_device and not event.is_user_annotation]
    times: Counter[str] = Counter()
    for event in events:
        # Of operators on a CPU, one calls the other: only their own time counts.
        times[event.name] += event.time_range.elapsed_us() if device == "cuda" else event.self_cpu_time_total
    if not events:
        return {}
    starts, ends = zip(*((event.time_range.start, event.time_range.end) for event in events), strict=True)
    classes: Counter[str] = Counter()
    for name, microseconds in times.items():
        classes[kernel_class(name)] += microseconds
    return {
        "step_ms": (max(ends) - min(starts)) / 1e3,
        "launches": len(events),
        "classes_ms": {name: value / 1e3 for name, value in classes.most_common()},
        "longest_ms": {name[:120]: value / 1e3 for name, value in times.most_common(20)},
    }


def kernel_class(name: str) -> str:
    """The class of a kernel: attention, gemm, optimizer, copy, or elementwise."""
    return next((label for label, pattern in _CLASSES if re.search(pattern, name.lower())), "elementwise")


def call_ms(call: Callable[[], Any], device: str, *, most: int = 20, seconds: float = 0.3) -> float:
    """Milliseconds of the median call, after one to warm up; as many as fit into `seconds`, two at least."""
    call()
    first = _calls_ms(call, device, 1)[0]
    return median(_calls_ms(call, device, max(2, min(most, int(seconds * 1e3 / max(first, 1e-3))))))


def _calls_ms(call: Callable[[], Any], device: str, count: int) -> list[float]:
    if device != "cuda":
        ends = [time.perf_counter()]
        for _ in range(count):
            call()
            ends.append(time.perf_counter())
        return [1e3 * (end - start) for start, end in pairwise(ends)]
    events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    torch.cuda.synchronize()
    events[0].record()
    for event in events[1:]:
        call()
        event.record()
    torch.cuda.synchronize()
    return [start.elapsed_time(end) for start, end in pairwise(events)]
