"""Frozen weights under adapters, held in the dtype that mixed precision multiplies in."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""Lightning's precisions that multiply in another dtype than they hold weights in."""


class NarrowLinear(nn.Linear):
    """A frozen linear layer whose values are those of a narrower dtype, and are held in it.

    It gives what it gave before, to the last bit: autocast would convert its weight to this dtype, and without
    autocast the product is in the input's dtype.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return `x Wᵀ + b`, `[..., O]`, in autocast's dtype or the input's."""
        if torch.is_autocast_enabled(input.device.type):
            return super().forward(input)
        bias = None if self.bias is None else self.bias.to(input.dtype)
        return F.linear(input, self.weight.to(input.dtype), bias)


def hold_narrow(policy: nn.Module, precision: str | None) -> int:
    """Hold the linear layers under adapters in mixed precision's dtype; return how many are held so.

    A layer is, where it is frozen and each of its values is one of that dtype, as of a checkpoint in bfloat16: half the
    memory, and no conversion in each forward. One that shares its weight, such as a tied head, stays as it is, and so
    does a layer with finer values: an export merges the adapter into them.

    Args:
        policy: The policy, with its adapters; changed in place.
        precision: Lightning's name of it.
    """
    dtype = _AUTOCAST.get(precision or "")
    if dtype is None:
        return 0
    holders = _holders(policy)
    found = [layer for layer in _candidates(policy) if _may_be_narrow(layer, dtype, holders)]
    for layer in found:
        layer.to(dtype)
        cast(Any, layer).__class__ = NarrowLinear
    return len(found)


def hold_as_before(model: nn.Module) -> None:
    """Take `hold_narrow` back: plain linear layers in float32, of the same values."""
    for layer in model.modules():
        if isinstance(layer, NarrowLinear):
            layer.float()
            cast(Any, layer).__class__ = nn.Linear


def wide_dtypes(model: nn.Module) -> dict[str, torch.dtype]:
    """Return the dtype that stands for each narrow tensor's values: float32, by the names of `state_dict`."""
    narrow = [name for name, each in model.named_modules(remove_duplicate=False) if isinstance(each, NarrowLinear)]
    return {f"{name}.{tensor}": torch.float32 for name in narrow for tensor in ("weight", "bias")}


def _candidates(policy: nn.Module) -> list[nn.Module]:
    from peft.tuners.lora import Linear

    return [each.get_base_layer() for each in policy.modules() if isinstance(each, Linear)]


def _holders(policy: nn.Module) -> dict[int, int]:
    """Return how many modules hold a parameter, by its identity."""
    counts: dict[int, int] = {}
    for module in policy.modules():
        for parameter in module.parameters(recurse=False):
            counts[id(parameter)] = counts.get(id(parameter), 0) + 1
    return counts


def _may_be_narrow(layer: nn.Module, dtype: torch.dtype, holders: dict[int, int]) -> bool:
    if type(layer) not in {nn.Linear, NarrowLinear}:
        return False
    return all(
        holders[id(each)] == 1
        and not hasattr(each, "__tensor_flatten__")
        and not (each.requires_grad or each.is_meta)
        and each.dtype == torch.float32
        and _fits(each.detach(), dtype)
        for each in layer.parameters()
    )


def _fits(values: Tensor, dtype: torch.dtype) -> bool:
    """Return whether each value is one of a narrower dtype; most finer tensors show it in their first row."""
    rows = values if values.dim() > 1 else values[None]
    return all(torch.equal(part.to(dtype).to(part.dtype), part) for part in rows.split([1, len(rows) - 1]))
