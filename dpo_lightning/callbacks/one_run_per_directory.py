"""A lock on each directory that a run's checkpoints go to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint

from dpo_lightning.callbacks.checkpoint import ResumableCheckpoint
from dpo_lightning.checkpoints.directory_lock import DirectoryLock
from dpo_lightning.errors import InputError
from dpo_lightning.utils.files import is_local
from dpo_lightning.utils.ranks import from_rank_zero


class OneRunPerDirectory(pl.Callback):
    """Keeps other runs out of the directories of Lightning's `ModelCheckpoint`; `PreferenceModule` adds it.

    `ResumableCheckpoint` locks its own, and earlier: it also clears up there.
    """

    def __init__(self) -> None:
        self._locks: list[DirectoryLock] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the directories, once Lightning has said which they are.

        Raises:
            InputError: on every rank, where another run saves into one, or nothing can be written there.
        """
        if refusal := from_rank_zero(self._take(trainer) if trainer.is_global_zero else None):
            raise InputError(refusal)

    def _take(self, trainer: pl.Trainer) -> str | None:
        """Return why a directory cannot be had."""
        self._give_back()
        for directory in dict.fromkeys(_directories(trainer)):
            lock = DirectoryLock(directory)
            try:
                lock.take()
            except InputError as error:
                return str(error)
            self._locks.append(lock)
        return None

    def _give_back(self) -> None:
        while self._locks:
            self._locks.pop().give_back()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Let other runs save there."""
        self._give_back()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Let other runs save there."""
        self._give_back()


def _directories(trainer: Any) -> Iterator[Path]:
    """Yield the local directories, without those that a `ResumableCheckpoint` of the run has locked."""
    savers = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    own = {saver.directory.resolve() for saver in savers if isinstance(saver, ResumableCheckpoint)}
    for saver in savers:
        if saver.dirpath is not None and is_local(saver.dirpath) and Path(saver.dirpath).resolve() not in own:
            yield Path(saver.dirpath).resolve()
