"""Lightning's precisions: the dtypes that weights are held in, and that they are multiplied in."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Precision(NamedTuple):
    """Dtypes under one of Lightning's precisions.

    Attributes:
        weights: Dtype that its plugin casts a module to.
        autocast: Dtype that autocast multiplies in; None without autocast.
        replaces_linear: Whether another library's layers multiply, in 8 bits.
    """

    weights: torch.dtype
    autocast: torch.dtype | None = None
    replaces_linear: bool = False

    @property
    def products(self) -> torch.dtype:
        """Dtype of the inputs and results of matrix products."""
        return self.autocast or self.weights


_OF = {
    "64-true": Precision(torch.float64),
    "32-true": Precision(torch.float32),
    "16-true": Precision(torch.float16),
    "bf16-true": Precision(torch.bfloat16),
    "16-mixed": Precision(torch.float32, torch.float16),
    "bf16-mixed": Precision(torch.float32, torch.bfloat16),
    "transformer-engine": Precision(torch.bfloat16, replaces_linear=True),
    "transformer-engine-float16": Precision(torch.float16, replaces_linear=True),
}
_SHORT = {"64": "64-true", "32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}


def precision_of(name: str | None) -> Precision:
    """Return the dtypes of a precision by Lightning's name, short or long; float32 without one, and for unknown ones.

    transformers would take the checkpoint's dtype, which trains bfloat16 master weights under `bf16-mixed`.
    """
    return _OF.get(_SHORT.get(name or "", name or ""), _OF["32-true"])
