"""Numbers of a device that are read when it has come to them, and updates that it leaves out by itself."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

_KINDS = (Adam, AdamW)  # SGD's fused kernel leaves the momentum of a first step that it skips uninitialised
_FOUND_INF = "found_inf"


class LateNumbers:
    """Numbers on their way from the device: the copy waits for nothing, the reading for what was queued before it.

    Args:
        values: 1-d, on any device.
    """

    def __init__(self, values: Tensor) -> None:
        self._values = values.to("cpu", non_blocking=True)  # torch pins the memory of such a copy
        self._arrived = torch.cuda.Event() if values.is_cuda else None
        if self._arrived is not None:
            self._arrived.record()

    def read(self) -> list[float]:
        """Return the numbers."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._values.tolist()


def is_read_late(device: torch.device) -> bool:
    """Return whether the host runs ahead of the device, so that a read would stop it; a CPU's numbers are there."""
    return device.type == "cuda"


def skips_on_device(optimizer: Optimizer) -> bool:
    """Return whether an optimizer can leave its update out by a flag on the device: torch's fused Adam or AdamW."""
    return type(optimizer) in _KINDS and all(group["fused"] for group in optimizer.param_groups)


def skip_where(optimizer: Optimizer, bad: Bool[Tensor, ""]) -> None:
    """Let the next step of a fused optimizer change nothing where a flag of the device is true.

    Weights, moments and the count of steps stay bit for bit: the kernel reads the flag that a `GradScaler` gives it. A
    first step makes its state, all zeros, as a first step that is made finds it.
    """
    setattr(optimizer, _FOUND_INF, bad.float())


def skip_no_more(optimizer: Optimizer) -> None:
    """Take the flag away; the step was made or left out."""
    vars(optimizer).pop(_FOUND_INF, None)
