"""Reads of tensors that would stop the host at a GPU, counted on a CPU."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_READS = (Tensor.item, Tensor.tolist, Tensor.numpy, Tensor.nonzero, torch.nonzero, Tensor.__index__)
_READS += (Tensor.__bool__, Tensor.__float__, Tensor.__int__)
_SAME = (Tensor.clone, Tensor.detach, Tensor.squeeze, torch.squeeze, torch.clone)
_MARK = "is_on_host"


class DeviceReads(TorchFunctionMode):
    """Counts the reads of tensors as if each were on a device, but for copies that were made for the host.

    A copy by `.cpu()` is a read itself; one by `.to("cpu", non_blocking=True)` waits for nothing.

    Attributes:
        counts: The reads while `counting`, by the line of code.
        counting: Whether they are counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.counting = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Count a read, and mark what is on the host from now on."""
        kwargs = kwargs or {}
        is_known = bool(args) and isinstance(args[0], Tensor) and hasattr(args[0], _MARK)
        if self.counting and not is_known and (func in _READS or func is Tensor.cpu):
            frame = traceback.extract_stack(limit=2)[0]
            self.counts[f"{func.__name__} at {frame.filename}:{frame.lineno}"] += 1
        result = func(*args, **kwargs)
        to_host = func is Tensor.cpu or (func is Tensor.to and "cpu" in args[1:2] and kwargs.get("non_blocking"))
        if to_host or (is_known and func in _SAME):
            result = result.clone() if result is args[0] else result
            setattr(result, _MARK, True)
        return result
