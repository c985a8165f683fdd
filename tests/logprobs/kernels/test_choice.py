"""Which kernel a head gets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from dpo_lightning.logprobs import Statistic
from dpo_lightning.logprobs.kernels import HeadKernel, choice
from dpo_lightning.logprobs.kernels.fused import _VALUES, FUSED
from dpo_lightning.logprobs.kernels.plain import PLAIN

HALF, SINGLE = torch.bfloat16, torch.float32


@pytest.mark.parametrize(
    ("device", "dtype", "weights", "count", "kernel"),
    [
        ("cuda", HALF, SINGLE, 3, FUSED),
        ("cuda", torch.float16, torch.float16, 3, FUSED),
        ("cuda", SINGLE, SINGLE, 3, PLAIN),
        ("cuda", torch.float64, torch.float64, 3, PLAIN),
        ("cuda", HALF, HALF, 0, PLAIN),
        ("cpu", HALF, HALF, 3, PLAIN),
    ],
    ids=["mixed", "float16", "float32", "float64", "no token", "a CPU"],
)
def test_half_precision_on_a_gpu_is_fused(
    device: str,
    dtype: torch.dtype,
    weights: torch.dtype,
    count: int,
    kernel: HeadKernel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with FakeTensorMode():
        hidden = torch.empty(count, 2, dtype=dtype, device=device)
        weight = torch.empty(5, 2, dtype=weights, device=device)
    monkeypatch.setattr(choice, "_triton_runs", lambda *_: True)
    assert choice.head_kernel(hidden, weight) is kernel
    monkeypatch.setattr(choice, "_triton_runs", lambda *_: False)
    assert choice.head_kernel(hidden, weight) is PLAIN


def test_a_triton_that_cannot_run_is_named_once_and_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("Failed to find C compiler\nand more")

    monkeypatch.setattr("dpo_lightning.logprobs.kernels.fused.FUSED", SimpleNamespace(scan=broken))
    choice._triton_runs.cache_clear()
    device = torch.device("cpu")
    with pytest.warns(UserWarning, match="Triton cannot run here .*Failed to find C compiler") as caught:
        found = [choice._triton_runs(device, torch.bfloat16) for _ in range(2)]
    choice._triton_runs.cache_clear()
    assert (found, len(caught)) == ([False, False], 1)


def test_every_statistic_is_known_to_both() -> None:
    assert set(_VALUES) == set(Statistic)
