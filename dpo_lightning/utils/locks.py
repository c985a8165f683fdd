"""Locks of the operating system on files."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from dpo_lightning.errors import InputError

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}


def no_locks(error: OSError | NotImplementedError) -> str | None:
    """Return why a file system has no locks, as the error of taking one says it; None for another error."""
    if isinstance(error, NotImplementedError):
        return str(error)
    return (error.strerror or str(error)) if error.errno in _NO_LOCKS else None


@contextmanager
def alone(file: Path, place: str) -> Iterator[None]:
    """Hold a lock, which goes when the process ends; on a file system without locks hold none.

    Raises:
        InputError: where another process holds it; `place` names the argument.
    """
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{place}: another process is writing it: wait for it, or give another path") from None
    except (OSError, NotImplementedError) as error:
        if no_locks(error) is None:
            raise
        yield
        return
    try:
        yield
    finally:
        lock.release()
        file.unlink(missing_ok=True)
