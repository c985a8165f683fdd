"""A lock for the one scorer under a key: the operating system's, or a marker file where there are none."""

from __future__ import annotations

from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout
from lightning.pytorch.utilities import rank_zero_info

from dpo_lightning.errors import InputError
from dpo_lightning.utils.locks import no_locks

LOCK_NAME = "scoring.lock"
MARKER_NAME = "scoring.marker"

# Long enough to clear away the marker of a process that died on this machine and to try again.
_SECONDS_TO_TRY = 0.1


class ScoringLock:
    """Right to score, and to remove, what is in a key's directory.

    A lock of the operating system ends with the process that holds it. On a file system without locks (Lustre without
    `flock`, NFS without its lock service) a marker file stands for it: what a process that died has left is cleared
    away on the same machine, and must be removed by hand on another.

    Args:
        directory: The key's directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock: BaseFileLock = FileLock(directory / LOCK_NAME, fallback_to_soft=False)
        if FileLock is SoftFileLock:
            self._take_a_marker("this Python has no locks")

    @property
    def remedy(self) -> str:
        """Clause that says what to do where the holder cannot be seen to be gone; empty where it can."""
        return f"; if there is none, remove {self._lock.lock_file}" if isinstance(self._lock, SoftFileLock) else ""

    def take(self) -> bool:
        """Take the lock, unless somebody else has it; a directory that was removed meanwhile is made anew.

        Raises:
            InputError: where the directory cannot be written.
        """
        try:
            return self._try()
        except (OSError, NotImplementedError) as error:
            reason = no_locks(error)
            if reason is None:
                strerror = getattr(error, "strerror", None) or error
                raise InputError(f"reference cache {self._directory}: {strerror}: set another cache_dir") from error
            self._take_a_marker(f"the file system has no locks ({reason})")
            return self._try()

    def give_back(self) -> None:
        """Let others take it; does nothing where it was not taken."""
        self._lock.release()

    def _try(self) -> bool:
        try:
            self._lock.acquire(timeout=_SECONDS_TO_TRY, poll_interval=_SECONDS_TO_TRY / 4)
        except (Timeout, FileNotFoundError):  # the second where the directory is removed just now
            return False
        return True

    def _take_a_marker(self, why: str) -> None:
        # Under another name: the file of a lock stays when it is given back, and would be read as a marker.
        self._lock = SoftFileLock(self._directory / MARKER_NAME)
        rank_zero_info(
            f"reference cache {self._directory}: {why}: while a run scores, the file {MARKER_NAME} keeps others off"
        )
