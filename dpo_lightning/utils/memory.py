"""Memory that a process has used at most."""

from __future__ import annotations

import sys

import torch


def peak_memory(device: torch.device) -> float | None:
    """Return the peak in bytes: of a CUDA device what torch had allocated there, else of this process's resident set.

    None where the system does not say.
    """
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else 1024 * peak)
