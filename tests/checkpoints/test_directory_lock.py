"""Two runs cannot save into one directory; a run that is gone, killed or ended, locks nobody out."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import time
from pathlib import Path

import filelock
import lightning.pytorch as pl
import pytest

from dpo_lightning.callbacks import ResumableCheckpoint
from dpo_lightning.checkpoints.directory_lock import HOLDER_NAME, DirectoryLock
from dpo_lightning.errors import InputError
from tests.helpers.runs import data, module, trainer
from tests.helpers.saved import forked


def fit(path: Path, *callbacks: pl.Callback, steps: int = 1, **settings: object) -> None:
    saving = ResumableCheckpoint(str(path / "saved"), every_n_train_steps=1)
    run = trainer(callbacks=[saving, *callbacks], max_steps=steps, enable_checkpointing=True, **settings)
    run.fit(module(), data(path), ckpt_path="last" if any(path.glob("saved/step=*")) else None)


class Beside(pl.Callback):
    """Starts another run into the same directory, in the middle of this one."""

    def __init__(self, path: Path) -> None:
        self.path, self.said = path, ""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        with pytest.raises(InputError) as refused:
            fit(self.path)
        self.said = str(refused.value)


def test_the_second_run_is_refused_with_the_directory_and_the_holder(tmp_path):
    beside = Beside(tmp_path)
    fit(tmp_path, beside)
    assert beside.said == (
        f"checkpoints {tmp_path / 'saved'}: another run is saving there (process {os.getpid()} on "
        f"{socket.gethostname()}): give another dirpath, or wait until it has ended"
    )


def test_the_same_process_goes_on_after_the_end_and_nothing_is_left(tmp_path):
    fit(tmp_path)
    fit(tmp_path, steps=2)
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == ["step=1.ckpt", "step=2.ckpt"]


class Fails(pl.Callback):
    def on_train_batch_end(self, *args: object) -> None:
        raise ValueError("mine")


def test_an_exception_gives_the_directory_back(tmp_path):
    with pytest.raises(ValueError, match="mine"):
        fit(tmp_path, Fails(), steps=3)
    fit(tmp_path, steps=3)


def test_a_trial_takes_no_directory(tmp_path):
    fit(tmp_path, fast_dev_run=True)
    assert not (tmp_path / "saved").exists()


def test_a_killed_run_locks_nobody_out(tmp_path):
    def hold(report) -> None:
        lock = DirectoryLock(tmp_path)
        lock.take()
        report("held")
        time.sleep(60)

    child, read = forked(hold)
    assert os.read(read, 5) == b"held\n"
    with pytest.raises(InputError, match=f"process {child} on {socket.gethostname()}"):
        DirectoryLock(tmp_path).take()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    lock = DirectoryLock(tmp_path)
    lock.take()
    assert (tmp_path / HOLDER_NAME).read_text() == f"{socket.gethostname()} {os.getpid()}"
    lock.give_back()
    assert list(tmp_path.iterdir()) == []


def test_processes_that_a_killed_run_has_forked_are_waited_for(tmp_path):
    def hold(report) -> None:
        lock = DirectoryLock(tmp_path)
        lock.take()
        if os.fork() == 0:  # as a loader's worker, which has the lock's file open too
            time.sleep(1)
            os._exit(0)
        report("held")
        time.sleep(60)

    child, read = forked(hold)
    assert os.read(read, 5) == b"held\n"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    DirectoryLock(tmp_path).take()


def test_a_file_system_without_locks_says_so_and_goes_on(tmp_path, monkeypatch, caplog):
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with caplog.at_level(logging.INFO):
        lock = DirectoryLock(tmp_path)
        lock.take()
        lock.give_back()
    assert [line for line in caplog.messages if "has no locks (No locks available)" in line and str(tmp_path) in line]


def test_a_directory_that_cannot_be_made_is_named_at_the_start(tmp_path):
    (tmp_path / "saved").write_text("a file")
    with pytest.raises(InputError, match=r"checkpoints .*saved: (File exists|Not a directory): set another dirpath"):
        fit(tmp_path)
