"""The choice among the kernels of a head."""

from __future__ import annotations

import functools

import torch
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.compat.triton import runs
from dpo_lightning.logprobs.kernels import HeadKernel, LinearHead, Wanted
from dpo_lightning.logprobs.kernels.plain import PLAIN
from dpo_lightning.logprobs.tiling import Tiling
from dpo_lightning.logprobs.transform import LogitTransform


def head_kernel(hidden: Float[Tensor, "N D"], weight: Float[Tensor, "V D"]) -> HeadKernel:
    """Return the kernel for these tensors: `FUSED` for half precision on a GPU that Triton compiles for, else `PLAIN`.

    A product in float32 takes so much longer than one in half precision that passes over its logits hardly show.
    """
    fits = hidden.is_cuda and weight.is_cuda and hidden.dtype in (torch.bfloat16, torch.float16) and len(hidden) > 0
    if fits and _triton_runs(hidden.device, hidden.dtype):
        from dpo_lightning.logprobs.kernels.fused import FUSED

        return FUSED
    return PLAIN


@functools.cache
def _triton_runs(device: torch.device, dtype: torch.dtype) -> bool:
    """Try a tile of one row: a GPU, a driver or a compiler that Triton cannot work with shows here, and once."""

    def trial() -> None:
        from dpo_lightning.logprobs.kernels.fused import FUSED

        hidden, targets = torch.ones(1, 16, dtype=dtype, device=device), torch.zeros(1, dtype=torch.long, device=device)
        FUSED.scan(LinearHead(hidden, None, LogitTransform()), hidden, targets, Wanted(True, False, ()), Tiling())

    return runs(trial)
