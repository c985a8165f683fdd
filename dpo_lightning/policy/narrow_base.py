"""Frozen weights, held in the dtype that mixed precision multiplies in."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from dpo_lightning.compat.torch import has_own_forward
from dpo_lightning.policy.precision import precision_of
from dpo_lightning.utils.narrow_linear import NarrowLinear, narrow_linear, widen_linear


def hold_narrow(policy: nn.Module, precision: str | None) -> int:
    """Hold the linear layers under adapters in mixed precision's dtype; return how many are held so.

    A layer is, where it is frozen and each of its values is one of that dtype, as of a checkpoint in bfloat16: half the
    memory, and no conversion in each forward. One that shares its weight, such as a tied head, stays as it is, and so
    does a layer with finer values: an export merges the adapter into them.

    Args:
        policy: The policy, with its adapters; changed in place.
        precision: Lightning's name of it.
    """
    dtype = precision_of(precision).autocast
    if dtype is None:
        return 0
    layers = _may_be_narrow(policy, _candidates(policy))
    return sum(narrow_linear(layer, dtype, keeps_finer=False) for layer in layers)


def hold_copy_narrow(model: nn.Module, precision: str | None, device: torch.device) -> int:
    """Hold the linear layers of a frozen model, its head too, in mixed precision's dtype; return how many are held so.

    On a GPU each one is: half the memory there, no conversion in each forward, and values that are finer stay in the
    host's memory for what runs without autocast. On a CPU, which would hold both, only layers without finer values are.
    A layer that shares its weight, such as a tied head, stays as it is, and so does what is no `nn.Linear`: norms,
    embeddings, the experts of a mixture, GPT-2's `Conv1D`.

    Args:
        model: A model without adapters; changed in place.
        precision: Lightning's name of it.
        device: Where it will run.
    """
    dtype = precision_of(precision).autocast
    if dtype is None:
        return 0
    getter = getattr(model, "get_output_embeddings", None)
    head = None if getter is None else getter()
    # To a head's product in half precision the bias is added in float32.
    return sum(
        narrow_linear(layer, dtype, keeps_finer=device.type == "cuda", whole=layer is not head)
        for layer in _may_be_narrow(model, [*model.modules()])
    )


def linear_weights(model: nn.Module) -> int:
    """Count the weights that could be held so: those under adapters, or all that a frozen copy on a GPU would have."""
    holders = _holders(model)
    layers = _candidates(model) if hasattr(model, "peft_config") else [*model.modules()]
    alone = (each for each in layers if _is_plain(each) and not _shares(each, holders))
    return sum(parameter.numel() for each in alone for parameter in each.parameters())


def hold_as_before(model: nn.Module) -> None:
    """Take `hold_narrow` or `hold_copy_narrow` back: plain linear layers in float32, of the same values."""
    for layer in model.modules():
        if isinstance(layer, NarrowLinear):
            widen_linear(layer)


def is_narrow(model: nn.Module) -> bool:
    """Return whether any layer of a model is held in mixed precision's dtype."""
    return any(isinstance(layer, NarrowLinear) for layer in model.modules())


def wide_dtypes(model: nn.Module) -> dict[str, torch.dtype]:
    """Return the dtype that stands for each narrow tensor's values: float32, by the names of `state_dict`."""
    narrow = [name for name, each in model.named_modules(remove_duplicate=False) if isinstance(each, NarrowLinear)]
    return {f"{name}.{tensor}": torch.float32 for name in narrow for tensor in ("weight", "bias")}


def _candidates(policy: nn.Module) -> list[nn.Module]:
    from peft.tuners.lora import Linear

    return [each.get_base_layer() for each in policy.modules() if isinstance(each, Linear)]


def _may_be_narrow(model: nn.Module, layers: list[nn.Module]) -> list[nn.Linear]:
    """Return those layers of a model that are linear, frozen, in float32, and share nothing."""
    holders = _holders(model)
    return [cast(nn.Linear, each) for each in layers if _is_plain(each) and _is_alone(each, holders)]


def _holders(policy: nn.Module) -> dict[int, int]:
    """Return how many modules hold a parameter, by its identity."""
    counts: dict[int, int] = {}
    for module in policy.modules():
        for parameter in module.parameters(recurse=False):
            counts[id(parameter)] = counts.get(id(parameter), 0) + 1
    return counts


def _is_plain(layer: nn.Module) -> bool:
    names = {name for name, _ in layer.named_parameters()}
    return type(layer) in {nn.Linear, NarrowLinear} and not has_own_forward(layer) and "weight" in names


def _is_alone(layer: nn.Module, holders: dict[int, int]) -> bool:
    return not _shares(layer, holders) and all(
        not hasattr(each, "__tensor_flatten__")
        and not (each.requires_grad or each.is_meta)
        and each.dtype == torch.float32
        for each in layer.parameters()
    )


def _shares(layer: nn.Module, holders: dict[int, int]) -> bool:
    return any(holders[id(each)] > 1 for each in layer.parameters())
