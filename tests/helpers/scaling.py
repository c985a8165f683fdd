"""The precision 16-mixed on a CPU, whose own float16 is slow."""

from __future__ import annotations

import torch
from lightning.pytorch.plugins import MixedPrecision


class ScaledLoss(MixedPrecision):
    """Scales the loss as 16-mixed does, and computes in float32: `plugins=[ScaledLoss()]`."""

    def __init__(self, **settings: float) -> None:
        super().__init__("16-mixed", "cpu", torch.amp.GradScaler("cpu", **settings))

    def autocast_context_manager(self) -> torch.autocast:
        """Compute in the weights' own dtype."""
        return torch.autocast("cpu", enabled=False)
