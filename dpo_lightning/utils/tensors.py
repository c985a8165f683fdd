"""Device, dtype and whole value of tensors and of the modules that hold them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


def device_of(model: nn.Module) -> torch.device:
    """Return the device of the model's first parameter."""
    return next(model.parameters()).device


def float_dtype_of(model: nn.Module) -> torch.dtype:
    """Return the dtype of the model's first floating parameter; a quantized weight is an integer."""
    return next(parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())


def whole(tensor: Tensor) -> Tensor:
    """Gather a sharded tensor, which every rank must take part in; any other is returned as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
