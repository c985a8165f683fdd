"""File systems without locks are told from other faults."""

import errno
from pathlib import Path

import pytest
from filelock import FileLock

from dpo_lightning.errors import InputError
from dpo_lightning.utils.locks import alone, no_locks


def test_only_missing_locks_count():
    assert no_locks(OSError(errno.ENOLCK, "No locks available")) == "No locks available"
    assert no_locks(NotImplementedError("no fcntl")) == "no fcntl"
    assert no_locks(OSError(errno.EACCES, "Permission denied")) is None


def test_one_process_alone_holds_a_file(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with alone(file, "--out here"):
        with (
            pytest.raises(InputError, match="--out here: another process is writing it: wait"),
            alone(file, "--out here"),
        ):
            pass
        assert file.exists()
    assert not file.exists()


def test_a_file_system_without_locks_holds_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with alone(tmp_path / "lock", "--out"):
        pass
    monkeypatch.setattr(
        FileLock, "acquire", lambda *_, **__: (_ for _ in ()).throw(PermissionError(errno.EACCES, "no"))
    )
    with pytest.raises(PermissionError), alone(tmp_path / "lock", "--out"):
        pass
