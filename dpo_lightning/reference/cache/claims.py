"""Which rows a run scores while others run beside it: locks of the operating system, which vanish with a process."""

from __future__ import annotations

import fcntl
from pathlib import Path

import numpy as np

LOCK_NAME = "claims.lock"


def buckets_of(keys: np.ndarray) -> np.ndarray:
    """Bucket of each key: its first 12 bits, whatever other rows a run has; buckets of sorted keys are sorted."""
    leading = np.frombuffer(keys.tobytes(), dtype=np.uint8).reshape(-1, keys.itemsize)[:, :2].astype(int)
    return leading[:, 0] * 16 + leading[:, 1] // 16


class Claims:
    """Locks on buckets of rows: byte ranges of one file, held by this process until it gives them back or ends.

    A process must not open the file twice: closing it anywhere gives all its locks back.
    """

    def __init__(self, directory: Path) -> None:
        self._file = (directory / LOCK_NAME).open("ab")

    def take(self, bucket: int) -> bool:
        """Claim a bucket, unless another process holds it."""
        return self._lock(1, bucket)

    def take_all(self) -> bool:
        """Claim every bucket, unless another process holds one."""
        return self._lock(0, 0)

    def give_back(self) -> None:
        """Give back what was claimed."""
        fcntl.lockf(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give back what was claimed, and close the file."""
        self._file.close()

    def _lock(self, length: int, start: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
        except (BlockingIOError, PermissionError):
            return False
        return True
