"""Token log-probs of a linear head, tile by tile: no [N, V] tensor in float32, and no GEMM done twice.

The log-prob of token y under logits z = W h is z_y - log sum_v exp(z_v), and its gradients are

    d/dh = W_y - sum_v p_v W_v,        d/dW_v = (1[v = y] - p_v) h.

The first is known as soon as the logits are, so the forward accumulates it while a tile of probabilities is in the
cache, and the backward only scales it: a frozen head takes two GEMMs. A trained head takes one more in the backward,
from the probabilities, which are kept in the compute dtype within `Tiling.kept_bytes` and computed again beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from dpo_lightning.logprobs.statistics import Statistic, TokenLogps
from dpo_lightning.logprobs.tiling import TILING, Tiling
from dpo_lightning.logprobs.transform import LogitTransform
from dpo_lightning.utils.torch_modes import compute_dtype

_TILE_MULTIPLE = 256


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
    wanted = _Wanted(grad and hidden.requires_grad, trained, statistics)
    with torch.autocast(hidden.device.type, enabled=False):
        logps, *values = _LinearLogps.apply(hidden, weight, bias, targets, transform, wanted, tiling)
    return TokenLogps(logps, dict(zip(statistics, values, strict=True)))


class _Wanted(NamedTuple):
    """Purposes of a scan: gradients of the hidden states, of the head, and statistics."""

    hidden: bool
    head: bool
    statistics: Sequence[Statistic]


class _Scratch(NamedTuple):
    """Memory for the logits of one tile, used again for the next one: as they are computed, and in float32 at least.

    Fresh memory for each tile would cost a CPU a third of its GEMM speed in page faults, and tiles of odd widths more.
    """

    raw: Tensor
    wide: Tensor


class _Head:
    """A linear head, and the tiles of its vocabulary."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        transform: LogitTransform,
        tiling: Tiling,
        *,
        rows: int,
        dtype: torch.dtype,
    ) -> None:
        self.weight, self.bias, self.transform, self.dtype = weight, bias, transform, dtype
        self.wide = torch.promote_types(dtype, torch.float32)
        fitting = tiling.tile_logits(weight.device.type) // rows
        size = max(fitting // _TILE_MULTIPLE, 1) * _TILE_MULTIPLE
        self.tiles = [slice(start, min(start + size, len(weight))) for start in range(0, len(weight), size)]
        self._largest = rows * size

    def scratch(self) -> _Scratch:
        """Allocate the memory that `logits` writes to."""
        raw = self.weight.new_empty(self._largest, dtype=self.dtype)
        return _Scratch(raw, raw if self.wide == self.dtype else raw.new_empty(self._largest, dtype=self.wide))

    def weight_of(self, tile: slice) -> Tensor:
        """Return the weights `[T, D]` of a tile in the compute dtype."""
        return self.weight[tile].to(self.dtype)

    def logits(self, hidden: Tensor, tile: slice, weight: Tensor, scratch: _Scratch) -> Tensor:
        """Return a tile's logits `[n, T]`, in float32 at least, until the next call; the caller may overwrite them."""
        shape = (len(hidden), len(weight))
        raw, wide = (memory[: shape[0] * shape[1]].view(shape) for memory in scratch)
        torch.mm(hidden, weight.T, out=raw)
        logits = raw if self.wide == self.dtype else wide.copy_(raw)
        if self.bias is not None:
            logits += self.bias[tile].to(self.wide)
        return self.transform(logits)


class _Rows:
    """Rows of `hidden`, and the sums that are known of their distributions.

    `weighted` and the tiles in `kept` are sums and terms of `exp(z - shift)` for the shift of their time, so that
    nothing overflows before the largest logit is known; so are `total` and the sums of the statistics.
    """

    def __init__(self, hidden: Tensor, targets: Tensor, head: _Head, statistics: Sequence[Statistic]) -> None:
        self.hidden, self.targets, self.head = hidden, targets, head
        self.kept: list[tuple[Tensor, Tensor]] = []
        self.shift = torch.full((len(hidden), 1), -torch.inf, dtype=head.wide, device=hidden.device)
        self.total, self.target_logit = torch.zeros_like(self.shift), torch.zeros_like(self.shift)
        self._sums = [statistic.value.tile_sums(self.shift) for statistic in statistics]

    def logps(self, scratch: _Scratch) -> Tensor:
        """Scan for the log-probs `[n]` alone."""
        for tile in self.head.tiles:
            logits = self.head.logits(self.hidden, tile, self.head.weight_of(tile), scratch)
            self._exponentials(tile, logits)
        return self._finish()

    def logps_and_gradient(self, scratch: _Scratch, keep: bool) -> Tensor:
        """Scan for the log-probs `[n]` and their `gradient` `[n, D]` with respect to the hidden states."""
        weighted = torch.zeros_like(self.hidden, dtype=self.shift.dtype)
        for tile in self.head.tiles:
            weight = self.head.weight_of(tile)
            logits = self.head.logits(self.hidden, tile, weight, scratch)
            slope = self.head.transform.slope(logits)
            exponentials, decay = self._exponentials(tile, logits)
            narrow = _times(exponentials, slope).to(self.hidden.dtype, copy=keep)
            weighted.mul_(decay).add_(narrow @ weight)
            if keep:
                self.kept.append((narrow, self.shift))
        logps = self._finish()
        target_weight = self.head.weight.index_select(0, self.targets).to(weighted.dtype)
        expected_weight = weighted.mul_((self.shift - self.log_total).exp())
        self.gradient = (self.target_slope * target_weight).sub_(expected_weight).mul_(self.head.transform.scale)
        return logps

    def probabilities(self, number: int, scratch: _Scratch) -> tuple[Tensor, Tensor]:
        """Return `q [n, T]` and `f [n, 1]` of tile `number` such that `f q` is probability times transform slope."""
        if self.kept:
            narrow, shift = self.kept[number]
            return narrow, (shift - self.log_total).exp()
        tile = self.head.tiles[number]
        logits = self.head.logits(self.hidden, tile, self.head.weight_of(tile), scratch)
        slope = self.head.transform.slope(logits)
        probabilities = _times(logits.sub_(self.log_total).exp_(), slope)
        return probabilities.to(self.hidden.dtype), torch.ones_like(self.log_total)

    def _exponentials(self, tile: slice, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Add a tile: its logits become `exp(z - shift)`, and sums of older terms shrink by the second result."""
        inside = (self.targets >= tile.start) & (self.targets < tile.stop)
        place = (self.targets - tile.start).clamp_(0, logits.shape[1] - 1)
        self.target_logit += torch.where(inside.unsqueeze(1), logits.gather(1, place.unsqueeze(1)), 0.0)
        before = self.shift
        self.shift = torch.maximum(before, logits.amax(1, keepdim=True))
        decay = (before - self.shift).exp_()
        exponentials = logits.sub_(self.shift).exp_()
        self.total.mul_(decay).add_(exponentials.sum(1, keepdim=True))
        for sums in self._sums:
            sums.add(exponentials, decay)
        return exponentials, decay

    def statistics(self) -> list[Tensor]:
        """Return the statistics `[n]` in the order they were asked for, after a scan."""
        return [sums.value(self.total) for sums in self._sums]

    def _finish(self) -> Tensor:
        self.log_total = self.shift + self.total.log()
        self.target_slope = _times(torch.ones_like(self.target_logit), self.head.transform.slope(self.target_logit))
        return (self.target_logit - self.log_total).squeeze(1)


class _LinearLogps(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        transform: LogitTransform,
        wanted: _Wanted,
        tiling: Tiling,
    ) -> tuple[Tensor, ...]:
        head = _Head(weight, bias, transform, tiling, rows=min(len(hidden), tiling.rows), dtype=hidden.dtype)
        parts = zip(hidden.split(tiling.rows), targets.split(tiling.rows), strict=True)
        chunks = [_Rows(rows, places, head, wanted.statistics) for rows, places in parts]
        scratch = head.scratch()
        if not (wanted.hidden or wanted.head):
            logps = [rows.logps(scratch) for rows in chunks]
        else:
            ctx.save_for_backward(weight)
            ctx.chunks, ctx.rows = chunks, tiling.rows
            logps = _logps_and_gradients(chunks, scratch, tiling.kept_bytes if wanted.head else 0)
        statistics = [torch.cat(parts) for parts in zip(*(rows.statistics() for rows in chunks), strict=True)]
        ctx.mark_non_differentiable(*statistics)
        return torch.cat(logps), *statistics

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_logps: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        ctx.saved_tensors  # noqa: B018 - raises if the weight has changed since the forward
        wants_hidden, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        grads = grad_logps.unsqueeze(1).split(ctx.rows)
        grad_hidden = grad_weight = grad_bias = None
        with torch.autocast(grad_logps.device.type, enabled=False):
            if wants_hidden:
                parts = [
                    (grad * rows.gradient).to(rows.hidden.dtype) for grad, rows in zip(grads, ctx.chunks, strict=True)
                ]
                grad_hidden = torch.cat(parts)
            if wants_weight or wants_bias:
                grad_weight, grad_bias = _head_gradients(ctx.chunks, grads)
        return grad_hidden, grad_weight, grad_bias, None, None, None, None


def _logps_and_gradients(chunks: Sequence[_Rows], scratch: _Scratch, kept_bytes: int) -> list[Tensor]:
    """Return the log-probs of the chunks, of which as many keep their probabilities as have room."""
    logps = []
    for rows in chunks:
        size = len(rows.hidden) * len(rows.head.weight) * rows.hidden.element_size()
        logps.append(rows.logps_and_gradient(scratch, keep=size <= kept_bytes))
        kept_bytes -= size if size <= kept_bytes else 0
    return logps


def _head_gradients(chunks: Sequence[_Rows], grads: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Return the gradients of weight and bias, in the parameters' dtypes; summed over chunks in float32 at least."""
    head = chunks[0].head
    scratch = head.scratch()
    grad_weight = torch.empty_like(head.weight, dtype=head.wide)
    grad_bias = torch.zeros_like(grad_weight[:, 0])
    for number_of_chunk, (rows, grad) in enumerate(zip(chunks, grads, strict=True)):
        scaled = grad.to(head.wide) * head.transform.scale
        for number, tile in enumerate(head.tiles):
            probabilities, factor = rows.probabilities(number, scratch)
            share = -factor * scaled
            tile_grad = probabilities.T @ (share * rows.hidden).to(rows.hidden.dtype)
            grad_weight[tile] = grad_weight[tile] + tile_grad if number_of_chunk else tile_grad
            if head.bias is not None:
                grad_bias[tile] += (probabilities.T @ share.to(rows.hidden.dtype)).squeeze(1)
        share = rows.target_slope * scaled
        # Sorted by row on CUDA, unlike index_add_, so that equal runs stay equal bit for bit.
        grad_weight.index_put_((rows.targets,), share * rows.hidden, accumulate=True)
        if head.bias is not None:
            grad_bias.index_put_((rows.targets,), share.squeeze(1), accumulate=True)
    return grad_weight.to(head.weight.dtype), None if head.bias is None else grad_bias.to(head.bias.dtype)


def _times(values: Tensor, slope: Tensor | None) -> Tensor:
    """Multiply in place by the slope of a soft-cap, if there is one."""
    return values if slope is None else values.mul_(slope)
