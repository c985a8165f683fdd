"""Sizes of the tiles in which a batch's [N, V] logits are computed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tiling:
    """Sizes of the pieces that a head is computed in.

    Attributes:
        rows: Most tokens of a tile.
        logits: Most logits of a tile, and of a chunk: 256 MiB in float32, enough for full GEMM speed.
        cpu_logits: Most logits of a tile on a CPU: as many as its cache holds in float32.
        kept_bytes: Most memory that the probabilities of a batch may hold until the backward: 256 MiB.
    """

    rows: int = 1024
    logits: int = 2**26
    cpu_logits: int = 2**20
    kept_bytes: int = 2**28

    def tile_logits(self, device_type: str) -> int:
        """Return the most logits of a tile on a device of this type, `cpu` or `cuda`."""
        return self.cpu_logits if device_type == "cpu" else self.logits


TILING = Tiling()
"""Default sizes."""
