"""Arithmetic that the losses share: precision, shapes, and an exponential that does not overflow."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

STRAIGHT_FROM = 30.0
"""Nats from which the tangent continues an exponential: at 1e4 nats its square still fits into float32."""


def margin(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Return chosen minus rejected, in float32 at least: the square of a margin overflows float16.

    Raises:
        ValueError: if they differ in shape.
    """
    require_one_shape(chosen, rejected)
    return at_least_float32(chosen) - at_least_float32(rejected)


def at_least_float32(values: Tensor) -> Tensor:
    """Return the values in float32, or in float64 if they are in float64."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def per_token(logps: Tensor, lengths: Tensor) -> Tensor:
    """Return log-probs per token `[P]`, in float32 at least, from sums over completions and their lengths.

    Raises:
        ValueError: if they differ in shape.
    """
    require_one_shape(logps, lengths)
    return at_least_float32(logps) / lengths


def expm1_with_straight_tail(exponent: Tensor) -> Tensor:
    """Return `exp(x) - 1` up to `STRAIGHT_FROM`, and its tangent above: value and slope never overflow.

    A clamp would be finite too, but flat: its gradient is 0 where the exponential pulls hardest.
    """
    tail = F.relu(exponent - STRAIGHT_FROM)
    return torch.expm1(exponent - tail) + math.exp(STRAIGHT_FROM) * tail


def require_one_shape(first: Tensor, *others: Tensor) -> None:
    """Refuse tensors of different shapes, which would broadcast.

    Raises:
        ValueError: if shapes differ.
    """
    for other in others:
        if first.shape != other.shape:
            raise ValueError(f"the inputs differ in shape: {tuple(first.shape)} and {tuple(other.shape)}")
