"""A lock on the directory of a run's checkpoints, so that no other run writes among them."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout
from lightning.pytorch.utilities import rank_zero_info

from dpo_lightning.errors import InputError
from dpo_lightning.utils.files import is_alive
from dpo_lightning.utils.locks import no_locks

LOCK_NAME = ".run.lock"
HOLDER_NAME = ".run.holder"

# Processes that a killed run has forked have its lock too, until they notice: a loader's workers after 5 s.
_SECONDS_FOR_ORPHANS = 20.0
_SECONDS_TO_TRY = 0.1


class DirectoryLock:
    """Right to write checkpoints into a directory; one process of a run has it, for all of them.

    It is a lock of the operating system, which ends with the process: what a killed run leaves of it locks nobody out.
    On a file system without locks one line says so, and nothing is locked.

    Args:
        directory: The directory; it is made where it is not there.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = FileLock(directory / LOCK_NAME, fallback_to_soft=False)
        self._is_held = self._was_made = False

    def take(self) -> None:
        """Take the lock; nothing happens where it is held already.

        Raises:
            InputError: where another run has it, naming its machine and process, or nothing can be written.
        """
        if self._is_held:
            return
        try:
            self._was_made = not self._directory.exists()
            self._directory.mkdir(parents=True, exist_ok=True)
            self._acquire()
            (self._directory / HOLDER_NAME).write_text(f"{socket.gethostname()} {os.getpid()}", encoding="utf-8")
            self._is_held = True
        except (OSError, NotImplementedError) as error:
            if isinstance(error, Timeout):
                raise InputError(
                    f"checkpoints {self._directory}: another run is saving there{self._holder()}: give another "
                    "dirpath, or wait until it has ended"
                ) from None
            reason = no_locks(error)
            if reason is None:
                strerror = getattr(error, "strerror", None) or error
                raise InputError(f"checkpoints {self._directory}: {strerror}: set another dirpath") from error
            rank_zero_info(
                f"checkpoints {self._directory}: the file system has no locks ({reason}): nothing keeps another run "
                "from saving there too"
            )

    def give_back(self) -> None:
        """Let others take it; does nothing where it is not held."""
        if not self._is_held:
            return
        self._is_held = False
        for name in (HOLDER_NAME, LOCK_NAME):  # before others can take it: who waits for a removed file begins anew
            with suppress(OSError):
                (self._directory / name).unlink()
        self._lock.release()
        if self._was_made:
            with suppress(OSError):  # there are checkpoints in it
                self._directory.rmdir()

    def _acquire(self) -> None:
        until = time.monotonic() + _SECONDS_FOR_ORPHANS
        while True:
            try:
                self._lock.acquire(timeout=_SECONDS_TO_TRY, poll_interval=_SECONDS_TO_TRY / 4)
                return
            except Timeout:
                if not self._holder_is_gone() or time.monotonic() > until:
                    raise

    def _read_holder(self) -> tuple[str, int] | None:
        with suppress(OSError, ValueError):
            host, pid = (self._directory / HOLDER_NAME).read_text(encoding="utf-8").split()
            return host, int(pid)
        return None

    def _holder(self) -> str:
        found = self._read_holder()
        return "" if found is None else f" (process {found[1]} on {found[0]})"

    def _holder_is_gone(self) -> bool:
        found = self._read_holder()
        return found is not None and found[0] == socket.gethostname() and not is_alive(found[1])
