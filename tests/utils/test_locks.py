"""File systems without locks are told from other faults."""

import errno

from dpo_lightning.utils.locks import no_locks


def test_only_missing_locks_count():
    assert no_locks(OSError(errno.ENOLCK, "No locks available")) == "No locks available"
    assert no_locks(NotImplementedError("no fcntl")) == "no fcntl"
    assert no_locks(OSError(errno.EACCES, "Permission denied")) is None
