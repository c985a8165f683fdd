"""Checkpoints to resume from, and whole ones in every run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Optional, cast
from weakref import proxy

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.exceptions import SIGTERMException

from dpo_lightning.callbacks.exact_resume import ExactResume
from dpo_lightning.callbacks.measures import not_counted
from dpo_lightning.callbacks.resumed_settings import ResumedSettings
from dpo_lightning.checkpoints import (
    MANIFEST,
    DurableCheckpointIO,
    SaveError,
    damage,
    problem,
    saved_steps,
    sharded_save,
)
from dpo_lightning.checkpoints.directory import newest_good
from dpo_lightning.checkpoints.directory_lock import DirectoryLock
from dpo_lightning.checkpoints.integrity import Examined
from dpo_lightning.checkpoints.optimizers import unscheduled
from dpo_lightning.checkpoints.outlines import Outline, check_outline, outline
from dpo_lightning.checkpoints.sharded import refuse_code
from dpo_lightning.compat.lightning_checkpoints import FindsLast, dump_checkpoint, intercept_loading, writes_shards
from dpo_lightning.errors import InputError
from dpo_lightning.utils.files import is_local, remove_leftovers
from dpo_lightning.utils.kinds import check_arguments
from dpo_lightning.utils.ranks import from_rank_zero
from dpo_lightning.utils.settings import at_least, check_rules
from dpo_lightning.utils.trainers import is_fitting


class DurableSaves(pl.Callback):
    """Puts `DurableCheckpointIO` in the place of Lightning's default; `PreferenceModule` adds it."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Before a checkpoint is loaded. A plugin of the user's own stays."""
        strategy = cast(Any, trainer.strategy)
        if type(strategy.checkpoint_io) is TorchCheckpointIO:
            strategy.checkpoint_io = DurableCheckpointIO()
        if isinstance(strategy, ModelParallelStrategy):
            intercept_loading(strategy, partial(_load_safely, trainer))


class ResumableCheckpoint(FindsLast):
    """Saves what a run goes on from, as `step=N.ckpt`; `--ckpt_path last` takes the newest that is undamaged.

    It also saves when training ends, is told to stop, or raises (with several processes, where all of them do). An
    old checkpoint goes when a newer one is on disk. Sharded ones are directories, with a checksum of each file. For the
    best by a metric, add Lightning's `ModelCheckpoint`.

    Args:
        dirpath: A local directory of this run alone, the same after a restart.
        every_n_train_steps: Optimizer steps between two checkpoints; null saves at the end of each epoch.
        keep: How many of the newest to keep; the disk needs room for one more.

    Example:
        >>> import lightning.pytorch as pl
        >>> saving = ResumableCheckpoint("checkpoints", every_n_train_steps=100, keep=2)
        >>> trainer = pl.Trainer(callbacks=[saving], logger=False, accelerator="cpu")
        >>> saving.directory.name  # then trainer.fit(module, data, ckpt_path="last")
        'checkpoints'
    """

    def __init__(self, dirpath: str, every_n_train_steps: Optional[int] = None, keep: int = 2) -> None:
        check_arguments(ResumableCheckpoint, locals(), "ResumableCheckpoint.")
        check_rules("ResumableCheckpoint.", locals(), every_n_train_steps=at_least(1), keep=at_least(1))
        if not is_local(dirpath):
            raise InputError(f"ResumableCheckpoint.dirpath: {dirpath} is not local; ModelCheckpoint saves elsewhere")
        super().__init__(
            dirpath,
            "{step}",
            save_top_k=-1,
            save_on_exception=True,
            every_n_train_steps=every_n_train_steps,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
        self.every_n_train_steps = every_n_train_steps
        self.keep = keep
        self._kept: list[str] = []
        self._step_saved = 0  # there is nothing to save before the first step
        self._has_saved = False
        self._examined: Examined | None = None
        self._lock: DirectoryLock | None = None

    @property
    def directory(self) -> Path:
        """The directory of the checkpoints."""
        return Path(str(self.dirpath))

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Clear up after a process that was killed; Lightning's own would warn that there are checkpoints.

        Raises:
            InputError: on every rank, where another run saves into the directory, or nothing can be written there.
        """
        DurableSaves().setup(trainer, pl_module, stage)
        plugin = cast(Any, trainer.strategy).checkpoint_io
        if self._examined is not None and isinstance(plugin, DurableCheckpointIO):
            plugin.examined, self._examined = self._examined, None
        if stage == "fit" and not cast(Any, trainer).fast_dev_run:
            if refusal := from_rank_zero(self._locked() if trainer.is_global_zero else None):
                raise InputError(refusal)
            if trainer.is_global_zero:
                remove_leftovers(self.directory)

    def _locked(self) -> str | None:
        """Take the directory for this run; return why it cannot be had."""
        self._lock = self._lock or DirectoryLock(self.directory)
        try:
            self._lock.take()
        except InputError as error:
            return str(error)
        return None

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.give_back()
            self._lock = None

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Let another run save into the directory."""
        self._unlock()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin counting from the checkpoint that was resumed.

        Raises:
            InputError: where `last` would find another run's checkpoints, or ones that this run has not reached.
        """
        super().on_train_start(trainer, pl_module)
        self._step_saved = trainer.global_step
        resumed = trainer.ckpt_path
        if resumed is not None and Path(resumed).resolve().parent == self.directory.resolve():
            self.best_model_path = str(resumed)
        elif not self._has_saved:  # the names are those of another directory
            self._kept = []
        is_first = trainer.is_global_zero and not cast(Any, trainer).fast_dev_run
        if refusal := from_rank_zero(self.refusal(trainer.global_step) if is_first else None):
            raise InputError(refusal)

    def refusal(self, step: int) -> str | None:
        """Return why a run cannot begin at a step: checkpoints of later ones lie there, which `last` would take."""
        ahead = self._ahead(step)
        return ahead and (
            f"{ahead} is ahead of this run, which starts from step {step}: resume with "
            "`--ckpt_path last`, give another dirpath, or move the checkpoint away"
        )

    def _ahead(self, step: int) -> str | None:
        return next(
            (str(path) for n, path in saved_steps(self.directory).items() if n > step and not problem(path)), None
        )

    def on_train_batch_end(self, *args: Any) -> None:
        """Save nothing yet: the step's validation and its line in the log are still to come."""

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save the step before, where it is due."""
        if self.every_n_train_steps is not None and trainer.global_step % self.every_n_train_steps == 0:
            self._save_unless_saved(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the epoch, where steps have no interval of their own."""
        if self.every_n_train_steps is None:
            self._save_unless_saved(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the end, so that more steps can follow, and where a time limit stopped the run."""
        self._save_unless_saved(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Save the end of the last optimizer step, where it is still in memory, and leave the directory."""
        self._save_what_is_left(trainer, exception)
        self._unlock()

    def _save_what_is_left(self, trainer: pl.Trainer, exception: BaseException) -> None:
        if self._is_saved(trainer) or not _can_save(trainer, exception):
            return
        try:
            path = self._save(trainer)
        except Exception as error:  # a CUDA error fails here again, and the first one is the one to see
            rank_zero_warn(f"no checkpoint of step {trainer.global_step}: {error}")
        else:
            rank_zero_info(f"{type(exception).__name__}: saved {path}")

    def _is_saved(self, trainer: pl.Trainer) -> bool:
        """Return whether there is nothing to save: the step is saved, or the run is a trial."""
        trial = bool(cast(Any, trainer).fast_dev_run) or trainer.sanity_checking
        return trial or self._step_saved == trainer.global_step

    def _save_unless_saved(self, trainer: pl.Trainer) -> None:
        if not self._is_saved(trainer):
            self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> str:
        filepath = self.format_checkpoint_name({"step": torch.tensor(trainer.global_step)})
        # Before the save, since they are part of it: killed after it, the next process removes what this one did not.
        self._kept = [name for name in self._kept if name != Path(filepath).name] + [Path(filepath).name]
        self.best_model_path = filepath
        for logger in trainer.loggers:
            logger.save()  # what a resumed run will not log again
        _write(trainer, filepath)
        self._step_saved, self._has_saved = trainer.global_step, True
        if trainer.is_global_zero and Path(filepath).is_file():
            for logger in trainer.loggers:
                logger.after_save_checkpoint(proxy(self))
        for name in self._kept[: -self.keep]:
            trainer.strategy.remove_checkpoint(self.directory / name)
        self._kept = self._kept[-self.keep :]
        return filepath

    def last_checkpoint(self, trainer: pl.Trainer) -> Path | None:
        """Return the newest from which a run can go on, and keep the finding for who loads it."""
        if writes_shards(trainer.strategy) and not trainer.is_global_zero:  # rank 0's is taken: it reads all of it
            return next(iter(saved_steps(self.directory).values()), None)
        self._examined = newest_good(self.directory)
        return None if self._examined is None else self._examined.path

    def state_dict(self) -> dict[str, Any]:
        """The names of the checkpoints that this run keeps."""
        return {"kept": list(self._kept)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what the run had kept before it was stopped: what else a file names is not ours to remove."""
        kept, own = state_dict.get("kept"), {path.name for path in saved_steps(self.directory).values()}
        self._kept = [name for name in kept if name in own] if isinstance(kept, list) else []


def _can_save(trainer: pl.Trainer, exception: BaseException) -> bool:
    """Return whether the weights are whole and all processes come here: one alone would wait for ever."""
    all_come = trainer.world_size == 1 or isinstance(exception, SIGTERMException)
    if isinstance(exception, KeyboardInterrupt | SaveError) or not all_come:
        return False
    exact = [callback for callback in trainer.callbacks if isinstance(callback, ExactResume)]  # type: ignore[attr-defined]
    return bool(exact) and exact[0].can_save


def _write(trainer: pl.Trainer, filepath: str) -> None:
    with not_counted(trainer):
        if not writes_shards(trainer.strategy):
            trainer.save_checkpoint(filepath)
            return
        checkpoint = dump_checkpoint(trainer)
        sharded_save(filepath, lambda shards: trainer.strategy.save_checkpoint(checkpoint, shards))


def _load_safely(trainer: pl.Trainer, load: Callable[..., Any], checkpoint_path: Any, **options: Any) -> Any:
    path = Path(from_rank_zero(str(checkpoint_path)))
    plugin = cast(Any, trainer.strategy).checkpoint_io
    examined = plugin.take_examined() if isinstance(plugin, DurableCheckpointIO) else None
    if refusal := from_rank_zero(_refusal(path, examined) if trainer.is_global_zero else None):
        raise InputError(refusal)
    found = outline(path)
    check_outline(trainer.lightning_module, found, trainer)
    with _fitting_optimizers(trainer, found):
        return load(path, **options)


@contextmanager
def _fitting_optimizers(trainer: pl.Trainer, found: Outline) -> Iterator[None]:
    """Let the strategy load the states of those optimizers only that can take them."""
    resumed = [each for each in cast(Any, trainer).callbacks if isinstance(each, ResumedSettings)]
    module, strategy, optimizers = trainer.lightning_module, trainer.strategy, trainer.strategy.optimizers
    if is_fitting(trainer) and not all(each.takes_optimizers(module, found.rest) for each in resumed):
        strategy.optimizers = []
    try:
        with unscheduled(strategy.optimizers):
            yield
    finally:
        strategy.optimizers = optimizers


def _refusal(path: Path, examined: Examined | None) -> str | None:
    """Return why a checkpoint must not be loaded. A directory without a manifest may or may not be whole."""
    known = examined is not None and examined.is_still(path)
    if not known and (path.is_file() or (path / MANIFEST).exists()) and (found := damage(path)):
        return f"checkpoint {path}: {found}"
    try:
        if path.is_dir():
            refuse_code(path)
    except InputError as error:
        return str(error)
    return None
