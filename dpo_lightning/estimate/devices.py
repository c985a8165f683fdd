"""Figures of a few GPUs, from the makers' data sheets."""

from __future__ import annotations

from typing import NamedTuple


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
