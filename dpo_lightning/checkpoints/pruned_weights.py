"""Masks of pruned weights, and the values under them: what torch's pruning holds beside the pruned weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import prune


def masks(module: nn.Module) -> dict[str, Tensor]:
    """Return the mask of each pruned tensor by its name, 1 where it is kept; shapes and dtypes are the tensors'."""
    return {name: getattr(owner, f"{leaf}_mask") for name, owner, leaf in _pruned(module)}


def hidden_values(module: nn.Module) -> dict[str, dict[str, Tensor]]:
    """Return of each pruned tensor its mask, `kept` (bool), and the values that it hides, `hidden` (flat).

    Nothing computes with them, but where two names share a tensor, one may hide what the other shows.
    """
    found = {}
    for name, owner, leaf in _pruned(module):
        kept = getattr(owner, f"{leaf}_mask").detach().bool().cpu()
        found[name] = {"kept": kept, "hidden": getattr(owner, f"{leaf}_orig").detach().cpu()[~kept]}
    return found


def prune_again(module: nn.Module, masks: Mapping[str, Tensor], hidden: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Hide again what was hidden, in a module that has the pruned weights as plain ones.

    Args:
        module: The module.
        masks: What `masks` returned at the moment from which a run goes on.
        hidden: What `hidden_values` returned when its weights were saved.
    """
    with torch.no_grad():
        for name, each in hidden.items():
            weight = module.get_parameter(name)
            weight[~each["kept"].to(weight.device)] = each["hidden"].to(weight)
    owners = {name: module.get_submodule(name.rpartition(".")[0]) for name in masks}
    for name, mask in masks.items():
        leaf = name.rpartition(".")[2]
        prune.custom_from_mask(owners[name], leaf, mask.to(getattr(owners[name], leaf)))


def _pruned(module: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    for path, owner in module.named_modules():
        buffers = dict(owner.named_buffers(recurse=False))
        for name, _ in owner.named_parameters(recurse=False, remove_duplicate=False):
            leaf = name.removesuffix("_orig")
            if leaf != name and f"{leaf}_mask" in buffers:
                yield f"{path}.{leaf}" if path else leaf, owner, leaf
