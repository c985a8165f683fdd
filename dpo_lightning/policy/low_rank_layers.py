"""PEFT's LoRA layers with base product and update as one operation, and one for those that share an input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn

from dpo_lightning.compat.peft import plain_low_rank
from dpo_lightning.compat.torch import changes_of
from dpo_lightning.policy.low_rank import LowRank, low_rank_products
from dpo_lightning.policy.narrow_base import hold_as_before
from dpo_lightning.utils.narrow_linear import NarrowLinear
from dpo_lightning.utils.torch_modes import compute_dtype

_SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("query", "key", "value"), ("gate_proj", "up_proj"), ("w1", "w3"))
"""Names of layers of one module that are called one after the other with one input.

Where an architecture calls them otherwise, the result is the same, and what was computed for the others is dropped.
"""


_BASES = (nn.Linear, NarrowLinear)


class Siblings:
    """Layers that share an input, and what the first of them that is called has computed for the others.

    Args:
        layers: Layers of one module.
    """

    def __init__(self, layers: Sequence[JointLinear]) -> None:
        self.layers = list(layers)
        self._forget()

    def _forget(self) -> None:
        self._input: Tensor | None = None
        self._context: Any = None
        self._ready: dict[int, Tensor] = {}

    def take(self, layer: JointLinear, hidden: Tensor, compute: Callable[[], dict[int, Tensor]]) -> Tensor:
        """Return a layer's part of what `compute` makes of an input; it is called for the first of the layers."""
        context = _context(layer, hidden)
        if self._input is not hidden or self._context != context or id(layer) not in self._ready:
            self._input, self._context, self._ready = hidden, context, compute()
        found = self._ready.pop(id(layer))
        if not self._ready:
            self._forget()
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy has: the layers, without results, which are part of a graph."""
        return {"layers": self.layers, "_input": None, "_context": None, "_ready": {}}


def _context(layer: JointLinear, hidden: Tensor) -> tuple[Any, ...]:
    """Return what a result depends on beside the input."""
    modes = torch.is_grad_enabled(), compute_dtype(hidden), layer.training
    return changes_of(hidden), *modes, layer.disable_adapters, tuple(layer.active_adapters)


class WidelyMerged(Linear):
    """PEFT's LoRA over a linear layer that may be held narrow: a merge needs the finer values that it had room for."""

    def merge(self, *args: Any, **kwargs: Any) -> None:
        """Merge into the base layer, in float32 where the adapters are; arguments are PEFT's."""
        if all(each.weight.dtype == torch.float32 for each in self.lora_A.values()):
            hold_as_before(self)
        super().merge(*args, **kwargs)


class JointLinear(WidelyMerged):
    """PEFT's LoRA over a linear layer; what is no plain LoRA, or not alone, takes PEFT's own forward."""

    siblings: Siblings | None

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return `x Wᵀ + b + s (x Aᵀ) Bᵀ`, `[..., O]`, or without the update where adapters are off."""
        if args or kwargs or torch.compiler.is_compiling():
            return super().forward(x, *args, **kwargs)
        dtype = compute_dtype(x)
        if self.disable_adapters:
            return self._base_product(x, dtype)
        own = _factors(self, x, dtype)
        if own is None:
            return super().forward(x)
        if self.siblings is None:
            return low_rank_products(x, [own], dtype)[0]
        return self.siblings.take(self, x, lambda: _products(self, x, dtype))

    def _base_product(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the base layer's product; its siblings read the same converted input."""
        siblings = self.siblings
        if siblings is None or self.merged or x.dtype in (dtype, torch.float64):
            return super().forward(x)
        converted = siblings.take(self, x, lambda: dict.fromkeys(map(id, siblings.layers), x.to(dtype)))
        return super().forward(converted)


def _factors(layer: JointLinear, hidden: Tensor, dtype: torch.dtype) -> LowRank | None:
    found = plain_low_rank(layer, _BASES)
    if found is None or hidden.dtype == torch.float64 != dtype:  # which autocast leaves alone
        return None
    is_narrow = isinstance(layer.get_base_layer(), NarrowLinear)
    one_dtype = dtype == found[2].dtype and (is_narrow or dtype == found[0].dtype)
    # Without autocast, PEFT converts to and fro.
    return LowRank(*found) if one_dtype or torch.is_autocast_enabled(hidden.device.type) else None


def _products(first: JointLinear, hidden: Tensor, dtype: torch.dtype) -> dict[int, Tensor]:
    """Return the products of the layer that is called and of its siblings that are alike, by identity."""
    siblings: Sequence[JointLinear] = [first] if first.siblings is None else first.siblings.layers
    all_factors = {id(each): _factors(each, hidden, dtype) for each in siblings if _is_like(each, first)}
    factors = {layer: found for layer, found in all_factors.items() if found is not None}
    return dict(zip(factors, low_rank_products(hidden, [*factors.values()], dtype), strict=True))


def _is_like(layer: JointLinear, other: JointLinear) -> bool:
    return layer.disable_adapters == other.disable_adapters and layer.active_adapters == other.active_adapters


def merge_widely(policy: nn.Module) -> list[Any]:
    """Let a policy's LoRA layers over `nn.Linear` merge into weights as they were before `hold_narrow`; return them."""
    found: list[Any] = [each for each in policy.modules() if type(each) is Linear and type(each.base_layer) in _BASES]
    for layer in found:
        layer.__class__ = WidelyMerged
    return found


def multiply_jointly(policy: nn.Module) -> int:
    """Let a policy's LoRA layers over `nn.Linear` compute base product and update as one; return their number.

    Changes the class of these layers, in place. They stay PEFT's: what is saved, merged and switched is the same.
    """
    found = merge_widely(policy)
    for layer in found:
        layer.__class__ = JointLinear
        layer.siblings = None
    for parent in policy.modules():
        for names in _SIBLINGS:
            layers = [getattr(parent, name, None) for name in names]
            joint = [each for each in layers if isinstance(each, JointLinear)]
            if len(joint) > 1 and len({each.in_features for each in joint}) == 1:
                shared = Siblings(joint)
                for layer in joint:
                    layer.siblings = shared
    return len(found)


def multiply_apart(policy: nn.Module) -> None:
    """Take `multiply_jointly` or `merge_widely` back: PEFT's own layers, with what they hold."""
    for layer in policy.modules():
        if isinstance(layer, WidelyMerged):
            layer.__dict__.pop("siblings", None)
            layer.__class__ = Linear
