"""The kernel of an optimizer whose maker leaves it to torch: the fused one where the parameters are on a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

from dpo_lightning.compat.torch import fuse

KERNEL = "fused"
"""The setting of an optimizer that names the kernel; None leaves it to whoever makes the optimizer."""

_KINDS = (Adam, AdamW)
_CHOICES = (KERNEL, "foreach")
_OTHERS = ("capturable", "differentiable")

_chosen: WeakSet[Optimizer] = WeakSet()


def with_kernel(optimizer: Optimizer) -> Optimizer:
    """Let torch's Adam or AdamW run fused where its maker says neither `fused` nor `foreach` and that is faster.

    Fused it moves 28 bytes a float32 parameter: weight, gradient and two moments are read, three of them written. One
    kernel for each operation, torch's choice on a GPU, moves 84. On the CPU nothing changes: the fused kernel rounds
    otherwise there, and a run would not go on bit for bit from an older checkpoint.

    A state that is loaded later runs by the kernel of now, so that a run goes on on another device; the steps it counts
    lie where that kernel wants them.
    """
    if type(optimizer) not in _KINDS:
        return optimizer
    if all(_is_left_open(group) for group in optimizer.param_groups):
        _chosen.add(optimizer)
        if all(on_gpu(each) for group in optimizer.param_groups for each in group["params"]):
            fuse(optimizer)
    optimizer.register_load_state_dict_pre_hook(_with_own_kernel)
    return optimizer


def is_chosen(optimizer: Optimizer) -> bool:
    """Return whether the kernel is not what a maker asked for: it is no setting of the run then."""
    return optimizer in _chosen


def on_gpu(parameter: Tensor) -> bool:
    """Return whether a parameter is one that a fused kernel of CUDA updates."""
    return parameter.is_cuda and parameter.is_floating_point()


def _is_left_open(group: Mapping[str, Any]) -> bool:
    return all(group[name] is None for name in _CHOICES) and not any(group[name] for name in _OTHERS)


def _with_own_kernel(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """Return a saved state with the kernels that the groups have now."""
    own = ({name: group[name] for name in _CHOICES} for group in optimizer.param_groups)
    groups = [{**saved, **kernel} for saved, kernel in zip(state["param_groups"], own, strict=False)]
    return {**state, "param_groups": groups + state["param_groups"][len(groups) :]}
