"""A linear head in PyTorch, for a CPU, float32 and float64: rows outermost, each tile of logits widened to float32."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dpo_lightning.logprobs.kernels import HeadBackward, HeadKernel, LinearHead, Scan, Wanted
from dpo_lightning.logprobs.statistics import Statistic
from dpo_lightning.logprobs.tiling import Tiling

_TILE_MULTIPLE = 256
_LOG2_E = math.log2(math.e)


class _Scratch(NamedTuple):
    """Memory for the logits of one tile, used again for the next one: as they are computed, and in float32 at least.

    Fresh memory for each tile would cost a CPU a third of its GEMM speed in page faults, and tiles of odd widths more.
    """

    raw: Tensor
    wide: Tensor


class _Tiles:
    """A linear head, and the tiles of its vocabulary."""

    def __init__(self, head: LinearHead, tiling: Tiling, *, rows: int, dtype: torch.dtype) -> None:
        self.weight, self.bias, self.transform = head
        self.dtype, self.wide = dtype, torch.promote_types(dtype, torch.float32)
        fitting = tiling.tile_logits(self.weight.device.type) // max(rows, 1)
        size, vocabulary = max(fitting // _TILE_MULTIPLE, 1) * _TILE_MULTIPLE, len(self.weight)
        self.slices = [slice(start, min(start + size, vocabulary)) for start in range(0, vocabulary, size)]
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

    def __init__(self, hidden: Tensor, targets: Tensor, tiles: _Tiles, statistics: Sequence[Statistic]) -> None:
        self.hidden, self.targets, self.tiles = hidden, targets, tiles
        self.kept: list[tuple[Tensor, Tensor]] = []
        self.shift = torch.full((len(hidden), 1), -torch.inf, dtype=tiles.wide, device=hidden.device)
        self.total, self.target_logit = torch.zeros_like(self.shift), torch.zeros_like(self.shift)
        self._sums = [statistic.value.tile_sums(self.shift) for statistic in statistics]

    def logps(self, scratch: _Scratch) -> Tensor:
        """Scan for the log-probs `[n]` alone."""
        for tile in self.tiles.slices:
            logits = self.tiles.logits(self.hidden, tile, self.tiles.weight_of(tile), scratch)
            self._exponentials(tile, logits)
        return self._finish()

    def logps_and_gradient(self, weighted: Tensor, scratch: _Scratch, keep: bool) -> Tensor:
        """Scan for the log-probs `[n]`; write to `weighted [n, D]` their gradients for the hidden states."""
        weighted.zero_()
        for tile in self.tiles.slices:
            weight = self.tiles.weight_of(tile)
            logits = self.tiles.logits(self.hidden, tile, weight, scratch)
            slope = self.tiles.transform.slope(logits)
            exponentials, decay = self._exponentials(tile, logits)
            narrow = _times(exponentials, slope).to(self.hidden.dtype, copy=keep)
            weighted.mul_(decay).add_(narrow @ weight)
            if keep:
                self.kept.append((narrow, self.shift))
        logps = self._finish()
        target_weight = self.tiles.weight.index_select(0, self.targets).to(weighted.dtype)
        expected_weight = weighted.mul_((self.shift - self.log_total).exp())
        torch.sub(self.target_slope * target_weight, expected_weight, out=weighted).mul_(self.tiles.transform.scale)
        return logps

    def probabilities(self, number: int, scratch: _Scratch) -> tuple[Tensor, Tensor]:
        """Return `q [n, T]` and `f [n, 1]` of tile `number` such that `f q` is probability times transform slope."""
        if self.kept:
            narrow, shift = self.kept[number]
            return narrow, (shift - self.log_total).exp()
        tile = self.tiles.slices[number]
        logits = self.tiles.logits(self.hidden, tile, self.tiles.weight_of(tile), scratch)
        slope = self.tiles.transform.slope(logits)
        probabilities = _times(_exponential(logits.sub_(self.log_total)), slope)
        return probabilities.to(self.hidden.dtype), torch.ones_like(self.log_total)

    def _exponentials(self, tile: slice, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Add a tile: its logits become `exp(z - shift)`, and sums of older terms shrink by the second result."""
        inside = (self.targets >= tile.start) & (self.targets < tile.stop)
        place = (self.targets - tile.start).clamp_(0, logits.shape[1] - 1)
        self.target_logit += torch.where(inside.unsqueeze(1), logits.gather(1, place.unsqueeze(1)), 0.0)
        before = self.shift
        self.shift = torch.maximum(before, logits.amax(1, keepdim=True))
        decay = (before - self.shift).exp_()
        exponentials = _exponential(logits.sub_(self.shift))
        self.total.mul_(decay).add_(exponentials.sum(1, keepdim=True))
        for sums in self._sums:
            sums.add(exponentials, decay)
        return exponentials, decay

    def statistics(self) -> list[Tensor]:
        """Return the statistics `[n]` in the order they were asked for, after a scan."""
        return [sums.value(self.total) for sums in self._sums]

    def _finish(self) -> Tensor:
        self.log_total = self.shift + self.total.log()
        self.target_slope = _times(torch.ones_like(self.target_logit), self.tiles.transform.slope(self.target_logit))
        return (self.target_logit - self.log_total).squeeze(1)


class _PlainBackward(HeadBackward):
    """The chunks of rows of a scan, with the probabilities that they kept."""

    def __init__(self, tiles: _Tiles, chunks: Sequence[_Rows]) -> None:
        self._tiles, self._chunks = tiles, chunks

    def release(self) -> Sequence[Tensor]:
        """Hand over nothing: each chunk has its own tiles."""
        return []

    def head_gradients(self, released: Sequence[Tensor], grad_logps: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the gradients of weight and bias; summed over chunks in float32 at least."""
        tiles, scratch = self._tiles, self._tiles.scratch()
        grad_weight = torch.empty_like(tiles.weight, dtype=tiles.wide)
        grad_bias = torch.zeros_like(grad_weight[:, 0])
        grads = grad_logps.unsqueeze(1).split([len(rows.hidden) for rows in self._chunks])
        for number_of_chunk, (rows, grad) in enumerate(zip(self._chunks, grads, strict=True)):
            scaled = grad.to(tiles.wide) * tiles.transform.scale
            for number, tile in enumerate(tiles.slices):
                probabilities, factor = rows.probabilities(number, scratch)
                share = -factor * scaled
                tile_grad = probabilities.T @ (share * rows.hidden).to(rows.hidden.dtype)
                grad_weight[tile] = grad_weight[tile] + tile_grad if number_of_chunk else tile_grad
                if tiles.bias is not None:
                    grad_bias[tile] += (probabilities.T @ share.to(rows.hidden.dtype)).squeeze(1)
            share = rows.target_slope * scaled
            # Sorted by row on CUDA, unlike index_add_, so that equal runs stay equal bit for bit.
            grad_weight.index_put_((rows.targets,), share * rows.hidden, accumulate=True)
            if tiles.bias is not None:
                grad_bias.index_put_((rows.targets,), share.squeeze(1), accumulate=True)
        bias = None if tiles.bias is None else grad_bias.to(tiles.bias.dtype)
        return grad_weight.to(tiles.weight.dtype), bias


def _scan(head: LinearHead, hidden: Tensor, targets: Tensor, wanted: Wanted, tiling: Tiling) -> Scan:
    tiles = _Tiles(head, tiling, rows=min(len(hidden), tiling.rows), dtype=hidden.dtype)
    parts = zip(hidden.split(tiling.rows), targets.split(tiling.rows), strict=True)
    chunks = [_Rows(rows, places, tiles, wanted.statistics) for rows, places in parts]
    gradient, scratch = None, tiles.scratch()
    if wanted.hidden or wanted.head:
        gradient = torch.empty_like(hidden, dtype=tiles.wide)
        logps = _with_gradients(chunks, gradient, scratch, tiling.kept_on(hidden.device) if wanted.head else 0)
    else:
        logps = [rows.logps(scratch) for rows in chunks]
    statistics = [torch.cat(parts) for parts in zip(*(rows.statistics() for rows in chunks), strict=True)]
    return Scan(torch.cat(logps), statistics, gradient, _PlainBackward(tiles, chunks))


def _with_gradients(chunks: Sequence[_Rows], gradient: Tensor, scratch: _Scratch, kept_bytes: int) -> list[Tensor]:
    """Return the log-probs of the chunks, of which as many keep their probabilities as have room."""
    logps = []
    for rows, part in zip(chunks, gradient.split([len(rows.hidden) for rows in chunks]), strict=True):
        size = len(rows.hidden) * len(rows.tiles.weight) * rows.hidden.element_size()
        logps.append(rows.logps_and_gradient(part, scratch, keep=size <= kept_bytes))
        kept_bytes -= size if size <= kept_bytes else 0
    return logps


PLAIN = HeadKernel(_scan)


def _times(values: Tensor, slope: Tensor | None) -> Tensor:
    """Multiply in place by the slope of a soft-cap, if there is one."""
    return values if slope is None else values.mul_(slope)


def _exponential(values: Tensor) -> Tensor:
    """Take `exp` in place; on a CPU as 2^(x log2 e), for which torch's kernel takes less than half of `exp`'s time."""
    return values.mul_(_LOG2_E).exp2_() if values.device.type == "cpu" else values.exp_()
