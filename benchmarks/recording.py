"""What each side of `compare.py` keeps while it trains: seconds, losses, the first log-probs, memory."""

from __future__ import annotations

import resource
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class Recorder:
    """Clocks the steps and keeps what shows that both sides computed the same.

    A step lasts from the end of the step before it to its own end, so everything in the loop counts: data, forward,
    backward, optimizer, callbacks. The first `warmup` steps, at least one, are trained and not counted.
    """

    def __init__(self, warmup: int) -> None:
        self.warmup = warmup
        self.rss_before_mib = rss_mib()
        self._ends: list[float] = []
        self._losses: list[Tensor] = []
        self._first_logps: Tensor | None = None

    def see_loss(self, loss: Tensor) -> None:
        """Keep the loss of a step, 0-d, without waiting for the device."""
        self._losses.append(loss.detach())

    def see_logps(self, logps: Tensor) -> None:
        """Keep the policy's summed log-probs `[2P]`, chosen first, of the first call."""
        if self._first_logps is None:
            self._first_logps = logps.detach()

    def end_step(self) -> None:
        """Stop the clock of this step and start the next one's."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._ends.append(time.perf_counter())

    def figures(self) -> dict[str, Any]:
        """Seconds of each measured step, losses of all steps, log-probs in nats, memory in MiB."""
        assert self._first_logps is not None
        ends = self._ends[self.warmup - 1 :]
        cuda = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None
        return {
            "step_s": [end - start for start, end in pairwise(ends)],
            "losses": [loss.item() for loss in self._losses],
            "first_logps": self._first_logps.tolist(),
            "rss_before_mib": self.rss_before_mib,
            "peak_mib": peak_mib(),
            "cuda_peak_mib": cuda,
            "threads": torch.get_num_threads(),
        }


def peak_mib() -> float:
    """Largest resident memory of this process.

    `ru_maxrss` would also count the parent's, which a child inherits when it is started.
    """
    status = _status("VmHWM")
    if status is not None:
        return status
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def rss_mib() -> float | None:
    """Resident memory now, where the system tells it."""
    return _status("VmRSS")


def _status(field: str) -> float | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 2**10 for line in lines if line.startswith(field + ":")), None)


def memory_mib(field: str) -> float:
    """A figure of this process's memory, such as `RssAnon`; 0 where the system does not tell it."""
    return _status(field) or 0.0
