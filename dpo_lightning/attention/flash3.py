"""FlashAttention 3 in place of torch's own flash kernel, where somebody asks for it and it proves right."""

from __future__ import annotations

import math
from collections.abc import Sequence

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import move_data_to_device, rank_zero_info
from torch import Tensor

from dpo_lightning.attention.kernels import Kernel, Softmax
from dpo_lightning.attention.kernels.blocked import BLOCKED
from dpo_lightning.attention.kernels.varlen import VARLEN
from dpo_lightning.attention.mask import TreeMask
from dpo_lightning.batch import TokenizedExample, collate_tree
from dpo_lightning.compat.torch import activate_flash_attention, active_flash_attention, restore_flash_attention
from dpo_lightning.errors import InputError, RunError
from dpo_lightning.utils.ranks import from_all_ranks
from dpo_lightning.utils.text import one_line

# bfloat16 rounds to 2^-9; outputs and gradients come to 2^-7 of their norm.
_ACCURACY = 2.0**-6
_WIDE = ("32-true", "64-true")


class FlashAttention3(pl.Callback):
    """Lets a run use FlashAttention 3 in place of torch's own flash kernel, which it gives back at the end.

    `use_flash_attention_3` says what it needs, and which calls it takes. Both layouts profit, in half precision;
    soft-caps, sinks and masks of other rules run as without it. After an error, too, the kernel of before comes back.

    Example:
        >>> from dpo_lightning import FlashAttention3
        >>> callbacks = [FlashAttention3()]  # of a Trainer; in a config, `trainer.callbacks: [FlashAttention3]`
    """

    def __init__(self) -> None:
        self._in_force = False
        self._before: str | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Switch it on, before the model is built or a reference is scored, and say so.

        Raises:
            InputError: for a run in float32 or float64, which no flash kernel takes.
            RunError: on every rank, where it cannot be used on one of them.
        """
        if trainer.precision in _WIDE:
            raise InputError(
                f"trainer.callbacks: FlashAttention3 would never run with trainer.precision: {trainer.precision}, "
                "since flash attention takes half precision: set that to bf16-mixed, or leave the callback out"
            )
        problem = self._try(trainer.strategy.root_device)
        if found := next(filter(None, from_all_ranks(problem)), None):
            raise RunError(f"trainer.callbacks: {found}: leave FlashAttention3 out to train with torch's own kernel")
        rank_zero_info("FlashAttention 3 runs in place of torch's flash kernel: its trial came out right")

    def _try(self, device: torch.device) -> str | None:
        """Return why it cannot be used."""
        before = active_flash_attention()
        try:
            use_flash_attention_3(device)
        except RunError as error:
            return str(error)
        self._in_force, self._before = True, before
        return None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the kernel of before back."""
        self._give_back()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the kernel of before back."""
        self._give_back()

    def _give_back(self) -> None:
        if self._in_force:
            restore_flash_attention()
            if self._before is not None:
                activate_flash_attention(self._before)
            self._in_force = False


def use_flash_attention_3(device: torch.device) -> None:
    """Let torch's flash attention run FlashAttention 3 from now on, after a trial against float32 on the device.

    It needs the package `flash_attn_interface` and a Hopper GPU. torch sends all calls of its flash kernel there, those
    of the tree layout and of `scaled_dot_product_attention`, in the whole process. Call it before a fit, or add the
    callback `FlashAttention3`; `torch.nn.attention.restore_flash_attention_impl()` switches it off.

    Args:
        device: A CUDA device.

    Raises:
        RunError: for another device; where torch or the package is missing, where it fails or computes something else.
            torch's own kernel is in force then.
    """
    if not _may_have_it(device):
        raise RunError(f"FlashAttention 3 cannot be used: it needs a Hopper GPU, and the device is a {device.type}")
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


def _may_have_it(device: torch.device) -> bool:
    return device.type == "cuda"


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
