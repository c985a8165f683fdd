"""The process that a run is in."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from types import TracebackType

STARTER = "DPO_LIGHTNING_STARTER"
"""Variable with the number of the process with which a command is to end, as each run of a sweep does."""

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def end_with_parent() -> None:
    """Have Linux kill this process when the one that started it ends; elsewhere, nothing changes.

    Raises:
        OSError: when the kernel refuses.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def end_with_starter() -> None:
    """End with the process that the environment names as the one that started this; nothing changes without a name."""
    starter = os.environ.pop(STARTER, None)  # processes that this one starts have another
    if starter is None:
        return
    end_with_parent()
    if str(os.getppid()) != starter and sys.platform == "linux":  # it was gone before
        sys.exit(f"the process {starter}, which started this one, has ended")


def end_quietly(worker: int = 0) -> None:
    """Let a loader's process print nothing of a main process that goes away while it is handed a tensor.

    The thread that hands it over gives that error to `sys.excepthook`; the main process has said why it ends.

    Args:
        worker: Number of the process, as torch gives it to a `worker_init_fn`.
    """
    said = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        names = (frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(trace))
        if not (issubclass(kind, ConnectionError | EOFError) and "multiprocessing.resource_sharer" in names):
            said(kind, error, trace)

    sys.excepthook = hook
