"""Sizes of the tiles in which a batch's [N, V] logits are computed."""

from __future__ import annotations

from dataclasses import dataclass

import torch

LEAST_KEPT = 2**28
"""Bytes that may be kept on any device."""
_KEPT_SHARE = 20
_NARROWEST = 2048
WIDEST = 8192
"""Most columns of a tile on a GPU with Triton: a wider row does not fit the registers of one program."""
_SMALL_CACHE = 32 * 2**20


@dataclass(frozen=True)
class Tiling:
    """Sizes of the pieces that a head is computed in.

    Attributes:
        rows: Most tokens of a tile in PyTorch.
        logits: Most logits of a tile, and of a chunk: 256 MiB in float32, enough for full GEMM speed.
        cpu_logits: Most logits of a tile on a CPU: as many as its cache holds in float32.
        kept_bytes: Most memory that the probabilities of a batch may hold until the backward; None for `kept_of`.
        fused_rows: Most tokens of a tile on a GPU with Triton.
        fused_columns: Columns of such a tile, a power of two; None for as many as the GPU's cache holds.
    """

    rows: int = 1024
    logits: int = 2**26
    cpu_logits: int = 2**20
    kept_bytes: int | None = None
    fused_rows: int = 4096
    fused_columns: int | None = None

    def tile_logits(self, device_type: str) -> int:
        """Return the most logits of a tile in PyTorch on a device of this type, `cpu` or `cuda`."""
        return self.cpu_logits if device_type == "cpu" else self.logits

    def kept_on(self, device: torch.device) -> int:
        """Return the bytes that the probabilities of a batch may hold on a device until the backward."""
        if self.kept_bytes is not None:
            return self.kept_bytes
        return kept_of(torch.cuda.get_device_properties(device).total_memory) if device.type == "cuda" else LEAST_KEPT

    def columns_on(self, device: torch.device, rows: int, vocabulary: int) -> int:
        """Return the columns of a tile of half-precision logits with this many rows: a power of two, 16 at least.

        Two thirds of the cache for the tile leave room for the weights and sums that stream by. Fewer than 2,048
        columns would leave the product short of work, and read those sums too often.
        """
        columns = self.fused_columns
        if columns is None:
            columns = min(max(_power_of_two(_cache_of(device) * 2 // 3 // (2 * rows)), _NARROWEST), WIDEST)
        return max(min(columns, 2 * _power_of_two(vocabulary - 1)), 16)


TILING = Tiling()
"""Default sizes."""


def kept_of(memory: float | int) -> int:
    """Return the bytes that may be kept on a device of so many: a twentieth, and 256 MiB at least."""
    return max(int(memory) // _KEPT_SHARE, LEAST_KEPT)


def balanced(start: int, stop: int, most: int) -> list[slice]:
    """Cut a range into the fewest pieces of at most `most`, all about as long, and multiples of 256 but the last.

    A last piece of a few rows would read all weights for them.
    """
    count = stop - start
    pieces = -(-count // most)
    size = min(-(-count // (max(pieces, 1) * 256)) * 256, most)
    return [slice(first, min(first + size, stop)) for first in range(start, stop, size)] if count else []


def _cache_of(device: torch.device) -> int:
    """Return the bytes of a GPU's second-level cache, or a small one's where torch does not tell."""
    if device.type != "cuda":
        return _SMALL_CACHE
    return getattr(torch.cuda.get_device_properties(device), "L2_cache_size", _SMALL_CACHE)


def _power_of_two(number: int) -> int:
    """Return the largest power of two that is not above a number, and 1 at least."""
    return 1 << (max(number, 1).bit_length() - 1)
