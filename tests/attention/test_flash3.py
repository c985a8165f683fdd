"""FlashAttention 3 asked for: used where it is right, refused in one line otherwise, torch's own kernel back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dpo_lightning.attention import use_flash_attention_3
from dpo_lightning.errors import RunError
from tests.attention.kernels.test_varlen import Kernel, KernelOfTorch211

CPU = torch.device("cpu")


@pytest.fixture
def active(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the implementations that torch was told to use; its flash kernel is the dense one of the tests."""
    names: list[str] = []
    monkeypatch.setattr("torch.nn.attention.activate_flash_attention_impl", names.append)
    monkeypatch.setattr("torch.nn.attention.restore_flash_attention_impl", names.clear)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", Kernel())
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
    with pytest.raises(RunError, match="cannot be used: ModuleNotFoundError: No module named 'flash_attn_interface'"):
        use_flash_attention_3(CPU)
    monkeypatch.delattr("torch.nn.attention.activate_flash_attention_impl")
    with pytest.raises(RunError, match=r"cannot be used: torch 2\S+ has no torch\.nn\.attention\.activate"):
        use_flash_attention_3(CPU)
