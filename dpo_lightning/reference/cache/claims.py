"""Which rows a run scores while others run beside it: locks of the operating system, which vanish with a process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import numpy as np

from dpo_lightning.errors import InputError, RunError

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
        self._path = directory / LOCK_NAME
        try:
            self._file = self._path.open("ab")
        except OSError as error:
            raise InputError(f"reference cache {directory}: {error.strerror}: set another cache_dir") from error

    def take(self, bucket: int) -> bool:
        """Claim a bucket, unless another process holds it.

        Raises:
            RunError: when the cache was pruned meanwhile: a lock on a file that is gone keeps nobody out.
        """
        if not self._path.exists() or not os.path.samestat(os.fstat(self._file.fileno()), self._path.stat()):
            raise RunError(
                f"reference cache {self._path.parent}: it was pruned while this run was scoring: start again"
            )
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
