"""Figures of a few GPUs, from the makers' data sheets."""

from __future__ import annotations

import re
from typing import NamedTuple

import torch

from dpo_lightning.policy.precision import precision_of


class Device(NamedTuple):
    """A GPU.

    Attributes:
        gigabytes: Memory, in 1e9 bytes.
        half_flops: Operations per second in bfloat16, dense.
        single_flops: The same in float32, without TF32.
        link: Bytes per second to the other GPUs of its node, in one direction.
    """

    gigabytes: float
    half_flops: float
    single_flops: float
    link: float


GPUS = {
    "H200": Device(141, 989e12, 67e12, 450e9),
    "H100": Device(80, 989e12, 67e12, 450e9),
    "A100": Device(80, 312e12, 19.5e12, 300e9),
    "L40S": Device(48, 362e12, 91.6e12, 32e9),
    "RTX4090": Device(24, 165e12, 82.6e12, 32e9),
}

NODE = 8
"""GPUs that share a node's fast links."""

BETWEEN_NODES = 50e9
"""Bytes per second of one GPU to other nodes: a network card of 400 Gbit/s each."""

_OTHER_CARDS = {"D", "Laptop", "MIG", "NVL"}
"""Words of a name that tell a card with other figures, or a part of one."""


def known_device(name: str) -> Device | None:
    """Return the figures of a GPU by the name that its driver gives, `NVIDIA A100-SXM4-80GB`; None where not known."""
    words = {*re.split(r"[\s-]+", name.replace("RTX ", "RTX"))}
    others = _OTHER_CARDS if "A100" in words else _OTHER_CARDS | {"PCIe"}
    if words & others:
        return None
    return next((figures for model, figures in GPUS.items() if model in words), None)


def peak_flops(name: str, precision: str, *, float32_is_exact: bool) -> float | None:
    """Return the dense matrix-product peak of a GPU in operations a second; None where it is not known.

    Args:
        name: The name that its driver gives.
        precision: Lightning's, such as `bf16-mixed`.
        float32_is_exact: Whether float32 products run without TF32, whose peak is not known here.
    """
    device = known_device(name)
    dtypes = precision_of(precision)
    if device is None or dtypes.replaces_linear or dtypes.products == torch.float64:
        return None
    if dtypes.products.itemsize == 2:
        return device.half_flops
    return device.single_flops if float32_is_exact else None
