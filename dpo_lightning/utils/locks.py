"""Locks of the operating system on files."""

from __future__ import annotations

import errno

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}


def no_locks(error: OSError | NotImplementedError) -> str | None:
    """Return why a file system has no locks, as the error of taking one says it; None for another error."""
    if isinstance(error, NotImplementedError):
        return str(error)
    return (error.strerror or str(error)) if error.errno in _NO_LOCKS else None
