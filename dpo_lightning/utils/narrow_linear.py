"""Linear layers that are held in a narrower dtype than they were given in, and compute what they computed before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NarrowLinear(nn.Linear):
    """A frozen linear layer that is held in the dtype that autocast would convert it to.

    It gives what it gave before, to the last bit: under autocast the conversion was done once, and elsewhere the
    product is of the values from before, in the input's dtype.

    Attributes:
        finer: Tensors as they were before, on the CPU, by name: those whose values are not all of the narrower dtype;
            None without any.
    """

    finer: Mapping[str, Tensor] | None = None

    def forward(self, input: Tensor) -> Tensor:
        """Return `x Wᵀ + b`, `[..., O]`, in autocast's dtype or the input's."""
        kind = input.device.type
        if torch.is_autocast_enabled(kind):
            return F.linear(input, *self.factors(torch.get_autocast_dtype(kind)))
        weight, bias = self.factors(input.dtype)
        return F.linear(input, weight.to(input.dtype), None if bias is None else bias.to(input.dtype))

    def factors(self, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """Return `W [O, I]` and `b [O]` or None for a product in a dtype: as held where it is theirs, else as before.

        They may have other dtypes; what they are converted to is what they would have been converted to before.
        """
        if self.finer is None or dtype == self.weight.dtype:
            return self.weight, self.bias
        weight, bias = self.finer.get("weight", self.weight), self.finer.get("bias", self.bias)
        return weight.to(self.weight.device), None if bias is None else bias.to(self.weight.device)


def narrow_linear(layer: nn.Linear, dtype: torch.dtype, *, keeps_finer: bool, whole: bool = True) -> bool:
    """Hold a frozen linear layer in a narrower dtype, in place, and return whether it is held so now.

    Args:
        layer: A layer whose forward is that of `nn.Linear`.
        dtype: The narrower dtype.
        keeps_finer: Keep tensors with values that the dtype has not on the CPU too; else such a layer stays as it is.
        whole: Hold the bias so too, and not the weight alone.
    """
    parts = {name: part for name, part in layer.named_parameters() if whole or name == "weight"}
    finer = {name: part.detach() for name, part in parts.items() if not _fits(part.detach(), dtype)}
    if finer and not keeps_finer:
        return False
    cast(Any, layer).__class__ = NarrowLinear
    if finer:
        cast(NarrowLinear, layer).finer = {name: part.cpu() for name, part in finer.items()}
    for part in parts.values():
        part.data = part.data.to(dtype)
    return True


def widen_linear(layer: NarrowLinear) -> None:
    """Take `narrow_linear` back: a plain linear layer in float32, of the values that it had."""
    finer = vars(layer).pop("finer", {})
    for name, part in layer.named_parameters():
        part.data = finer.get(name, part.data).to(part.device, torch.float32)
    cast(Any, layer).__class__ = nn.Linear


def _fits(values: Tensor, dtype: torch.dtype) -> bool:
    """Return whether each value is one of a narrower dtype; most finer tensors show it in their first row."""
    rows = values if values.dim() > 1 else values[None]
    return all(torch.equal(part.to(dtype).to(part.dtype), part) for part in rows.split([1, len(rows) - 1]))
