"""What the losses share: precision, shapes, and the ranges of settings."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dpo_lightning.errors import InputError


def margin(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Chosen minus rejected, in float32 at least: the square of a margin overflows float16.

    Raises:
        ValueError: when they differ in shape.
    """
    require_one_shape(chosen, rejected)
    return at_least_float32(chosen) - at_least_float32(rejected)


def at_least_float32(values: Tensor) -> Tensor:
    """The values in float32, or in float64 where they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def require_one_shape(first: Tensor, *others: Tensor) -> None:
    """Nothing broadcasts by accident.

    Raises:
        ValueError: when shapes differ.
    """
    for other in others:
        if first.shape != other.shape:
            raise ValueError(f"the inputs differ in shape: {tuple(first.shape)} and {tuple(other.shape)}")


def require_positive(name: str, value: float) -> None:
    """Check a setting.

    Raises:
        InputError: unless it is a finite number above 0.
    """
    if not 0 < value < math.inf:
        raise InputError(f"{name} must be a finite number greater than 0, got {value}")


def require_not_negative(name: str, value: float) -> None:
    """Check a setting.

    Raises:
        InputError: unless it is a finite number, 0 or greater.
    """
    if not 0 <= value < math.inf:
        raise InputError(f"{name} must be a finite number of at least 0, got {value}")


def require_share_of_flips(name: str, value: float) -> None:
    """Check a share of flipped labels.

    Raises:
        InputError: unless it is in ``[0, 0.5)``: half of them flipped, the labels say nothing.
    """
    if not 0 <= value < 0.5:
        raise InputError(f"{name} must be in [0, 0.5), got {value}")
