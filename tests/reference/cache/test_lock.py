"""One scorer at a time, with locks and without."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dpo_lightning.errors import InputError
from dpo_lightning.reference.cache.lock import LOCK_NAME, MARKER_NAME, ScoringLock
from dpo_lightning.utils.files import remove_directory
from tests.helpers.tiny import tiny_llama
from tests.reference.cache.filling import bound, brute_values, fill, largest_difference, make_pairs, shards, values
from tests.reference.common import policy_of

FORK = multiprocessing.get_context("fork")
NO_LOCKS = [
    OSError(errno.ENOSYS, "Function not implemented"),
    OSError(errno.ENOLCK, "No locks available"),
    OSError(errno.EOPNOTSUPP, "Operation not supported"),
    NotImplementedError("FileSystem does not appear to support flock"),
]


def without_locks(monkeypatch: pytest.MonkeyPatch, error: Exception = NO_LOCKS[1]) -> None:
    """A file system whose locks fail."""
    import fcntl

    def fails(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(fcntl, "flock", fails)


def held_by_another_process(directory: Path) -> multiprocessing.process.BaseProcess:
    taken = FORK.Event()

    def hold() -> None:
        lock = ScoringLock(directory)
        assert lock.take()
        taken.set()
        signal.pause()

    process = FORK.Process(target=hold)
    process.start()
    assert taken.wait(60)
    return process


@pytest.mark.parametrize("locks", [True, False], ids=["lock", "marker"])
def test_one_process_at_a_time_until_it_is_killed(tmp_path, monkeypatch, locks):
    if not locks:
        without_locks(monkeypatch)
    process = held_by_another_process(tmp_path)
    lock = ScoringLock(tmp_path)
    assert not lock.take()
    assert not lock.take()
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    assert lock.take()
    assert not ScoringLock(tmp_path).take()
    lock.give_back()
    assert ScoringLock(tmp_path).take()


@pytest.mark.parametrize("error", NO_LOCKS, ids=str)
def test_without_locks_a_marker_stands_for_it_and_one_line_says_so(tmp_path, monkeypatch, caplog, error):
    without_locks(monkeypatch, error)
    lock = ScoringLock(tmp_path)
    with caplog.at_level(logging.INFO):
        assert lock.take()
        lock.give_back()
        assert lock.take()
    assert len(caplog.messages) == 1
    assert "the file system has no locks (" in caplog.messages[0]
    assert caplog.messages[0].endswith(f"while a run scores, the file {MARKER_NAME} keeps others off")
    assert (tmp_path / MARKER_NAME).is_file()
    lock.give_back()
    assert not (tmp_path / MARKER_NAME).exists()


def test_the_marker_of_another_machine_stays_and_is_named(tmp_path, monkeypatch):
    without_locks(monkeypatch)
    (tmp_path / MARKER_NAME).write_text("4711\nelsewhere\n")
    lock = ScoringLock(tmp_path)
    assert not lock.take()
    assert lock.remedy == f"; if there is none, remove {tmp_path / MARKER_NAME}"
    (tmp_path / MARKER_NAME).unlink()
    assert lock.take()
    lock.give_back()


def test_other_errors_are_one_line(tmp_path, monkeypatch):
    without_locks(monkeypatch, OSError(errno.EIO, "Input/output error"))
    with pytest.raises(InputError, match=r"^reference cache .*: Input/output error: set another cache_dir$"):
        ScoringLock(tmp_path).take()


@pytest.mark.parametrize("locks", [True, False], ids=["lock", "marker"])
def test_a_directory_that_was_pruned_meanwhile_is_made_anew(tmp_path, monkeypatch, locks):
    if not locks:
        without_locks(monkeypatch)
    directory = tmp_path / "key"
    directory.mkdir()
    waiting, pruning = ScoringLock(directory), ScoringLock(directory)
    assert pruning.take()
    assert not waiting.take()
    remove_directory(directory)
    pruning.give_back()
    assert waiting.take()
    assert not ScoringLock(directory).take()
    waiting.give_back()


def test_a_cache_is_filled_without_locks(tmp_path, monkeypatch):
    without_locks(monkeypatch)
    pairs = make_pairs(12)
    table = fill(bound(policy_of(), tmp_path), pairs)
    assert largest_difference(values(table, pairs), brute_values(tiny_llama().eval(), pairs)) < 1e-5
    assert {path.suffix for path in shards(tmp_path)[0].parent.iterdir()} <= {".shard", ".json", Path(LOCK_NAME).suffix}


WITHOUT_FCNTL = """
import sys, warnings
sys.modules["fcntl"] = None
warnings.simplefilter("ignore")
import dpo_lightning.cli.main
from tests.helpers.tiny import tiny_llama
from tests.reference.cache.filling import bound, fill, make_pairs, values
from tests.reference.common import policy_of
from pathlib import Path
print(len(values(fill(bound(policy_of(), Path(sys.argv[1])), make_pairs(12)), make_pairs(12))))
"""


def test_nothing_imports_fcntl_and_a_marker_does(tmp_path):
    """As on Windows, but for the file system."""
    command = [sys.executable, "-c", WITHOUT_FCNTL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "12"
    assert len(shards(tmp_path)) == 1
    assert MARKER_NAME in done.stderr
