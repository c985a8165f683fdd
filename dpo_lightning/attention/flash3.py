"""FlashAttention 3 in place of torch's own flash kernel, where somebody asks for it and it proves right."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from lightning.pytorch.utilities import move_data_to_device
from torch import Tensor

from dpo_lightning.attention.kernels import Kernel, Softmax
from dpo_lightning.attention.kernels.blocked import BLOCKED
from dpo_lightning.attention.kernels.varlen import VARLEN
from dpo_lightning.attention.mask import TreeMask
from dpo_lightning.batch import TokenizedExample, collate_tree
from dpo_lightning.compat.torch import activate_flash_attention, restore_flash_attention
from dpo_lightning.errors import RunError
from dpo_lightning.utils.text import one_line

# bfloat16 rounds to 2^-9; outputs and gradients come to 2^-7 of their norm.
_ACCURACY = 2.0**-6


def use_flash_attention_3(device: torch.device) -> None:
    """Let torch's flash attention run FlashAttention 3 from now on, after a trial against float32 on the device.

    It needs the package `flash_attn_interface` and a Hopper GPU. torch sends all calls of its flash kernel there, those
    of the tree layout and of `scaled_dot_product_attention`, in the whole process. Call it before a fit.

    Args:
        device: A CUDA device.

    Raises:
        RunError: where torch or the package is missing, where it fails or computes something else; torch's own kernel
            is in force then.
    """
    if problem := activate_flash_attention("FA3"):
        raise RunError(f"FlashAttention 3 cannot be used: {problem}")
    try:
        error = _largest_error(device)
    except Exception as failure:  # a kernel may raise anything
        restore_flash_attention()
        raise RunError(f"FlashAttention 3 does not run here: {one_line(failure, 200)}") from failure
    if not error < _ACCURACY:
        restore_flash_attention()
        raise RunError(
            f"FlashAttention 3 is off by {error:.2g} of the norm of an output or gradient, so it is not used"
        )


def _largest_error(device: torch.device) -> float:
    """Return the relative error of outputs and gradients on a small tree with shared heads."""
    batch = collate_tree(
        [TokenizedExample.pair(0, [1] * 150, [1] * 40, [1] * 200), TokenizedExample.pair(1, [1], [1], [1])]
    )
    tree = move_data_to_device(batch, device).tree
    mask = TreeMask(lambda _, __, query, key: key <= query, tree, device)
    generator = torch.Generator().manual_seed(0)
    length = tree.position_ids.shape[1]
    rows = [torch.randn(1, count, length, 128, generator=generator).bfloat16().to(device) for count in (8, 2, 2)]
    found = _results(VARLEN, rows, mask)
    expected = _results(BLOCKED, [row.float() for row in rows], mask)
    errors = [(one.float() - other).norm() / other.norm() for one, other in zip(found, expected, strict=True)]
    return max(each if math.isfinite(each) else math.inf for each in torch.stack(errors).tolist())


@torch.inference_mode(False)
@torch.enable_grad()
def _results(kernel: Kernel, rows: Sequence[Tensor], mask: TreeMask) -> list[Tensor]:
    """Return the output and the gradients of its weighted sum."""
    query, key, value = (row.clone().requires_grad_() for row in rows)
    output = kernel.attend(query, key, value, mask, Softmax(0.1))
    weights = torch.linspace(-1, 1, output.numel(), device=output.device).view_as(output)
    return [output.detach(), *torch.autograd.grad((output.float() * weights).sum(), [query, key, value])]
