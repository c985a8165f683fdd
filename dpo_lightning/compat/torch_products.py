"""torch's product of half-precision matrices with a result in float32."""

from __future__ import annotations

import functools

import torch
from torch import Tensor


@functools.cache
def multiplies_into_float32(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether `torch.mm` and `torch.addmm` take `out_dtype=torch.float32` for this device and dtype.

    Only some backends do, and nothing says which: one small product of each is tried. What has no such product
    raises NotImplementedError, and a torch whose `addmm` wants all dtypes alike a RuntimeError of its own.
    """
    half, sums = (torch.zeros(16, 16, dtype=each, device=device) for each in (dtype, torch.float32))
    try:
        torch.mm(half, half, out_dtype=torch.float32, out=sums)
        torch.addmm(sums, half, half, out_dtype=torch.float32, out=sums)
    except (RuntimeError, TypeError):
        return False
    return True


def add_product(sums: Tensor, left: Tensor, right: Tensor, *, fresh: bool) -> None:
    """Add `left @ right` to `sums`, or write it there where these are fresh memory.

    Where `sums` is float32 and the factors are not, the product is added before it is rounded, if torch can.
    """
    if sums.dtype == left.dtype:
        torch.mm(left, right, out=sums) if fresh else torch.addmm(sums, left, right, out=sums)
    elif not multiplies_into_float32(left.device, left.dtype):
        product = left @ right
        sums.copy_(product) if fresh else sums.add_(product)
    elif fresh:
        torch.mm(left, right, out_dtype=sums.dtype, out=sums)
    else:
        torch.addmm(sums, left, right, out_dtype=sums.dtype, out=sums)
