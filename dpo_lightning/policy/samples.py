"""Samples of weights: a few values of each tensor, which tell one model from another at little cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dpo_lightning.utils.tensors import whole

VALUES = 128
"""Values of a tensor that are kept, or all where it has fewer: 150 kB for the 291 tensors of an 8 B model."""

_GOLDEN = 0.6180339887  # of consecutive multiples of this share of n, none lie close to each other


class Sample(NamedTuple):
    """Values of one tensor.

    Attributes:
        shape: Shape of the whole tensor.
        values: The values at `places`, `[VALUES]` or fewer, in the tensor's own dtype, on the CPU.
    """

    shape: tuple[int, ...]
    values: Tensor


def places(count: int) -> Tensor:
    """Return the flat indices of a tensor of `count` values that are sampled, int64, all different."""
    if count <= VALUES:
        return torch.arange(count, device="cpu")
    step = round(count * _GOLDEN)
    while math.gcd(step, count) > 1:  # or only some columns of a matrix would be met
        step += 1
    return torch.arange(VALUES, device="cpu") * step % count


def own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters, persistent buffers and the state of quantized weights, by name; what is tied, once."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in model.state_dict(keep_vars=True).items():
        if isinstance(value, Tensor) and id(value) not in seen:
            seen.add(id(value))
            found[name] = value
    return found


def sampled(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return samples of tensors in the types that a checkpoint holds; waits once for each device.

    Tensors without values, on the meta device, are left out.
    """
    there = {name: tensor for name, tensor in tensors.items() if not tensor.is_meta}
    here = [_bytes_of(whole(tensor)) for tensor in there.values()]
    return {
        "names": list(there),
        "shapes": [list(tensor.shape) for tensor in there.values()],
        "dtypes": [tensor.dtype for tensor in there.values()],
        "bytes": _on_cpu(here),
    }


def samples_in(held: Mapping[str, Any]) -> dict[str, Sample]:
    """Return what `sampled` has packed."""
    return dict(_unpacked(held))


def _unpacked(held: Mapping[str, Any]) -> Iterator[tuple[str, Sample]]:
    start = 0
    for name, shape, dtype in zip(held["names"], held["shapes"], held["dtypes"], strict=True):
        end = start + min(math.prod(shape), VALUES) * dtype.itemsize
        yield name, Sample(tuple(shape), held["bytes"][start:end].clone().view(dtype))
        start = end


def _bytes_of(tensor: Tensor) -> Tensor:
    flat = tensor.detach().reshape(-1)
    indices = places(flat.numel()).to(flat.device, non_blocking=True)
    return flat[indices].contiguous().view(torch.uint8)


def _on_cpu(parts: list[Tensor]) -> Tensor:
    """Join what lies on one device before it is fetched."""
    devices = {part.device for part in parts}
    fetched: dict[int, Tensor] = {}
    for device in devices:
        numbers = [number for number, part in enumerate(parts) if part.device == device]
        joined = torch.cat([parts[number] for number in numbers]).cpu()
        fetched |= dict(zip(numbers, joined.split([parts[number].numel() for number in numbers]), strict=True))
    ordered = [fetched[number] for number in range(len(parts))]
    return torch.cat(ordered) if ordered else torch.empty(0, dtype=torch.uint8)
