"""Products in half precision with sums in float32, where torch has them and where it has not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dpo_lightning.compat import torch_products
from dpo_lightning.compat.torch_products import add_product, multiplies_into_float32

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _asked_again() -> None:
    """Fake tensors, which other tests have, have every product on every device."""
    multiplies_into_float32.cache_clear()


@pytest.fixture
def with_sums(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A torch whose products have `out_dtype` on this device, and what was called."""
    calls = []

    def mm(left: Tensor, right: Tensor, *, out_dtype: torch.dtype, out: Tensor) -> Tensor:
        calls.append("mm")
        return out.copy_(left.to(out_dtype) @ right.to(out_dtype))

    def addmm(sums: Tensor, left: Tensor, right: Tensor, *, out_dtype: torch.dtype, out: Tensor) -> Tensor:
        calls.append("addmm")
        return out.copy_(sums + left.to(out_dtype) @ right.to(out_dtype))

    monkeypatch.setattr(torch_products.torch, "mm", mm)
    monkeypatch.setattr(torch_products.torch, "addmm", addmm)
    multiplies_into_float32.cache_clear()
    yield calls
    multiplies_into_float32.cache_clear()


def factors(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return torch.randn(5, 64).to(dtype), torch.randn(64, 7).to(dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_a_product_is_written_then_added(dtype: torch.dtype) -> None:
    left, right = factors(dtype)
    sums = torch.full((5, 7), torch.nan)
    exact = left.double() @ right.double()

    for number in (1, 2):
        add_product(sums, left, right, fresh=number == 1)
        assert ((sums - number * exact).abs().max() / exact.abs().max()).item() < 16 * torch.finfo(dtype).eps


def test_it_is_added_before_it_is_rounded_where_torch_can(with_sums: list[str]) -> None:
    assert multiplies_into_float32(CPU, torch.bfloat16)
    with_sums.clear()
    left, right = factors(torch.bfloat16)
    sums = torch.empty(5, 7)
    add_product(sums, left, right, fresh=True)
    add_product(sums, left, right, fresh=False)

    torch.testing.assert_close(sums, 2 * (left.float() @ right.float()), rtol=1e-6, atol=1e-5)
    assert with_sums == ["mm", "addmm"]


@pytest.mark.parametrize("error", [NotImplementedError(), RuntimeError("same dtype"), TypeError("out_dtype")])
def test_a_torch_that_cannot_says_so(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Tensor:
        raise error

    multiplies_into_float32.cache_clear()
    monkeypatch.setattr(torch_products.torch, "addmm", refuse)
    monkeypatch.setattr(torch_products.torch, "mm", lambda *_, **__: None)
    assert not multiplies_into_float32(CPU, torch.bfloat16)
    multiplies_into_float32.cache_clear()


def test_the_operators_are_torchs_own() -> None:
    for operator in (torch.ops.aten.mm.dtype_out, torch.ops.aten.addmm.dtype_out):
        assert {"out_dtype", "out"} <= {argument.name for argument in operator._schema.arguments}
