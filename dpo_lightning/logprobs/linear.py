"""Token log-probs of a linear head, tile by tile: no [N, V] tensor in float32, and no GEMM done twice.

The log-prob of token y under logits z = W h is z_y - log sum_v exp(z_v), and its gradients are

    d/dh = W_y - sum_v p_v W_v,        d/dW_v = (1[v = y] - p_v) h.

The first is known as soon as the logits are, so the forward accumulates it while a tile of probabilities is in the
cache, and the backward only scales it: a frozen head takes two GEMMs. A trained head takes one more in the backward,
from the probabilities, which are kept in the compute dtype within `Tiling.kept_on` and computed again beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from dpo_lightning.logprobs.kernels import LinearHead, Wanted, choice
from dpo_lightning.logprobs.statistics import Statistic, TokenLogps
from dpo_lightning.logprobs.tiling import TILING, Tiling
from dpo_lightning.logprobs.transform import LogitTransform
from dpo_lightning.utils.torch_modes import compute_dtype


def linear_logps(
    hidden: Float[Tensor, "N D"],
    weight: Float[Tensor, "V D"],
    bias: Float[Tensor, " V"] | None,
    targets: Int[Tensor, " N"],
    transform: LogitTransform,
    *,
    statistics: Sequence[Statistic] = (),
    tiling: Tiling = TILING,
) -> TokenLogps:
    """Return log-probs in nats of `targets` under `softmax(transform(hidden @ weight.T + bias))`, and statistics.

    GEMMs run in autocast's dtype where autocast is on, else in that of `hidden`; sums, exponentials and the result
    are float32 (float64 for a float64 model). Statistics come from the same tiles, without a GEMM of their own.
    """
    hidden = hidden.to(compute_dtype(hidden))
    grad = torch.is_grad_enabled()
    trained = grad and (weight.requires_grad or (bias is not None and bias.requires_grad))
    wanted = Wanted(grad and hidden.requires_grad, trained, statistics)
    with torch.autocast(hidden.device.type, enabled=False):
        logps, *values = _LinearLogps.apply(hidden, weight, bias, targets, transform, wanted, tiling)
    return TokenLogps(logps, dict(zip(statistics, values, strict=True)))


class _LinearLogps(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        transform: LogitTransform,
        wanted: Wanted,
        tiling: Tiling,
    ) -> tuple[Tensor, ...]:
        kernel, head = choice.head_kernel(hidden, weight), LinearHead(weight, bias, transform)
        logps, statistics, gradient, scanned = kernel.scan(head, hidden, targets, wanted, tiling)
        if wanted.hidden or wanted.head:
            # The weight for the check alone that nothing has changed it since.
            ctx.save_for_backward(weight, gradient, *scanned.release())
            ctx.scanned, ctx.dtype = scanned, hidden.dtype
        ctx.mark_non_differentiable(*statistics)
        return logps, *statistics

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_logps: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        _, gradient, *released = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        grad_hidden = grad_weight = grad_bias = None
        with torch.autocast(grad_logps.device.type, enabled=False):
            if wants_hidden:
                grad_hidden = (grad_logps.unsqueeze(1) * gradient).to(ctx.dtype)
            if wants_weight or wants_bias:
                grad_weight, grad_bias = ctx.scanned.head_gradients(released, grad_logps)
        return grad_hidden, grad_weight, grad_bias, None, None, None, None
