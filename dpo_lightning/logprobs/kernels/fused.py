"""A linear head on a GPU: tiles of logits that stay in its cache, each read once between two products.

The vocabulary is outermost, so that weights are read, and cast, once, and each `[T, D]` of their gradient is written
once. Traffic of a logit, in bytes, beside what the products read of weights and hidden states: 2 for the product that
makes it and 2 for the fold that reads it; with a gradient 2 for the fold to overwrite it and 2 for the second product.
A trained head adds 6, or 8 and a product where the probabilities were not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dpo_lightning.compat.torch_products import add_product
from dpo_lightning.logprobs.kernels import HeadBackward, HeadKernel, LinearHead, Scan, Wanted
from dpo_lightning.logprobs.kernels.fold import SHIFT
from dpo_lightning.logprobs.statistics import Statistic
from dpo_lightning.logprobs.tiling import Tiling, balanced

# Values of the statistics, of `sum e` and `sum e^2`.
_VALUES = {Statistic.LOG_COLLISIONS: lambda total, squares: squares.log() - 2 * total.log()}


# Vectors that begin here are aligned for reads of 16 bytes.
_ROW_MULTIPLE = 16


class _Pieces(NamedTuple):
    """Cuts of `[N, V]`: tiles of `columns`, and chunks of rows of which the first `kept` rows keep theirs."""

    columns: int
    tiles: Sequence[slice]
    chunks: Sequence[slice]
    kept: int

    @classmethod
    def of(cls, hidden: Tensor, vocabulary: int, kept_bytes: int, tiling: Tiling) -> _Pieces:
        count, device = len(hidden), hidden.device
        columns = tiling.columns_on(device, min(count, tiling.fused_rows), vocabulary)
        tiles = [slice(start, min(start + columns, vocabulary)) for start in range(0, vocabulary, columns)]
        kept = kept_bytes // (len(tiles) * columns * hidden.element_size())
        kept = count if kept >= count else kept // _ROW_MULTIPLE * _ROW_MULTIPLE
        chunks = balanced(0, kept, tiling.fused_rows) + balanced(kept, count, tiling.fused_rows)
        return cls(columns, tiles, chunks, kept)

    def scratch(self, hidden: Tensor) -> Tensor:
        """Allocate memory for a tile of any chunk."""
        return hidden.new_empty(max(chunk.stop - chunk.start for chunk in self.chunks), self.columns)


class _Fused(HeadBackward):
    """A scan, tile of the vocabulary by tile, and what it leaves for the backward."""

    def __init__(self, head: LinearHead, hidden: Tensor, targets: Tensor, kept_bytes: int, tiling: Tiling) -> None:
        self._pieces = _Pieces.of(hidden, len(head.weight), kept_bytes, tiling)
        self._head, self._hidden, self._targets = head, hidden, targets
        self._state = hidden.new_zeros(4, len(hidden), dtype=torch.float32)
        self._state[SHIFT] = -torch.inf
        self._kept = [hidden.new_empty(self._pieces.kept, self._pieces.columns) for _ in self._pieces.tiles]
        self._shifts = self._state.new_empty(len(self._pieces.tiles), self._pieces.kept)

    def scan(self, wanted: Wanted) -> Scan:
        """Go over the vocabulary, once."""
        gradient = torch.empty_like(self._hidden, dtype=torch.float32) if wanted.hidden else None
        self._fold_all(gradient, bool(wanted.statistics), wanted.head or wanted.hidden)
        shift, total, squares, target = self._state
        self._log_total = shift + total.log()
        slope = self._head.transform.slope(target)
        self._target_slope = torch.ones_like(target) if slope is None else slope
        if gradient is not None:
            self._finish(gradient)
        statistics = [_VALUES[statistic](total, squares) for statistic in wanted.statistics]
        return Scan(target - self._log_total, statistics, gradient, self)

    def _fold_all(self, gradient: Tensor | None, squared: bool, written: bool) -> None:
        """Fold all tiles; `gradient` becomes the sum of `exp(z - shift)` times the weights."""
        pieces, scratch = self._pieces, self._pieces.scratch(self._hidden)
        for number, tile in enumerate(pieces.tiles):
            weight = self._weight_of(tile)
            for rows in pieces.chunks:
                keep = rows.stop <= pieces.kept
                memory = self._kept[number][rows] if keep else scratch[: rows.stop - rows.start]
                raw, weighted = memory[:, : len(weight)], None if gradient is None else gradient[rows]
                torch.mm(self._hidden[rows], weight.T, out=raw)
                torch.ops.dpo_lightning.fold_tile(
                    raw,
                    self._head.bias,
                    self._targets[rows],
                    self._state[:, rows],
                    weighted,
                    self._shifts[number, rows] if keep else None,
                    tile.start,
                    self._head.transform.scale,
                    self._head.transform.softcap,
                    squared,
                    written,
                )
                if weighted is not None:
                    add_product(weighted, raw, weight, fresh=not tile.start)

    def _finish(self, gradient: Tensor) -> None:
        """Turn sums of weights into the gradient `slope_y W_y - sum_v p_v slope_v W_v`, times the scale."""
        scale = self._head.transform.scale
        # The weights as the products have them, so that those of a certain token cancel.
        target_weight = self._head.weight.index_select(0, self._targets).to(self._hidden.dtype)
        expected = (self._state[SHIFT] - self._log_total).exp_().mul_(-scale)
        gradient.mul_(expected.unsqueeze(1))
        gradient.addcmul_((scale * self._target_slope).unsqueeze(1), target_weight.float())

    def release(self) -> Sequence[Tensor]:
        """Hand over the tiles that were kept."""
        kept, self._kept = self._kept, []
        return kept

    def head_gradients(self, released: Sequence[Tensor], grad_logps: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the gradients of weight and bias, each tile summed over rows in float32 and rounded once."""
        head, pieces, hidden = self._head, self._pieces, self._hidden
        share = (grad_logps * head.transform.scale).unsqueeze(1)
        scaled, share = (share * hidden).to(hidden.dtype), share.to(hidden.dtype)
        scratch = pieces.scratch(hidden)
        grad_weight = torch.empty_like(head.weight)
        bias_sums = None if head.bias is None else self._state.new_empty(len(head.bias), 1)
        # One product rounds its sum once; the sum of several is not to be rounded between them.
        whole = head.weight.dtype == torch.float32 or (len(pieces.chunks) == 1 and head.weight.dtype == hidden.dtype)
        sums = None if whole else self._state.new_empty(pieces.columns, hidden.shape[1])
        for number, tile in enumerate(pieces.tiles):
            tile_sums = grad_weight[tile] if sums is None else sums[: tile.stop - tile.start]
            for rows in pieces.chunks:
                coefficients = self._coefficients(number, rows, released, scratch)
                add_product(tile_sums, coefficients.T, scaled[rows], fresh=not rows.start)
                if bias_sums is not None:
                    add_product(bias_sums[tile], coefficients.T, share[rows], fresh=not rows.start)
            if sums is not None:
                grad_weight[tile] = tile_sums
        return grad_weight, None if head.bias is None or bias_sums is None else bias_sums[:, 0].to(head.bias.dtype)

    def _coefficients(self, number: int, rows: slice, released: Sequence[Tensor], scratch: Tensor) -> Tensor:
        """Return `(1[v = y] - p_v)` times the slope of a tile's logits, `[n, T]` in scratch memory."""
        tile, keep = self._pieces.tiles[number], rows.stop <= self._pieces.kept
        written = scratch[: rows.stop - rows.start, : tile.stop - tile.start]
        source = released[number][rows, : tile.stop - tile.start] if keep else written
        if not keep:
            torch.mm(self._hidden[rows], self._weight_of(tile).T, out=written)
        torch.ops.dpo_lightning.coefficients_of_tile(
            source,
            self._head.bias,
            self._targets[rows],
            self._log_total[rows],
            self._target_slope[rows],
            self._shifts[number, rows] if keep else None,
            written,
            tile.start,
            self._head.transform.scale,
            self._head.transform.softcap,
        )
        return written

    def _weight_of(self, tile: slice) -> Tensor:
        """Return the weights `[T, D]` of a tile in the compute dtype."""
        return self._head.weight[tile].to(self._hidden.dtype)


def _scan(head: LinearHead, hidden: Tensor, targets: Tensor, wanted: Wanted, tiling: Tiling) -> Scan:
    return _Fused(head, hidden, targets, tiling.kept_on(hidden.device) if wanted.head else 0, tiling).scan(wanted)


FUSED = HeadKernel(_scan)
"""The kernel: half precision, and at least one row."""
