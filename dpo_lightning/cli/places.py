"""Places that a run writes to, tried before it begins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from dpo_lightning import Export, PlotLogger, PreferenceModule, ResumableCheckpoint, SampleTable, WriteRewards
from dpo_lightning.errors import InputError
from dpo_lightning.reference import Precomputed
from dpo_lightning.reference.cache.store import default_cache_dir
from dpo_lightning.utils.files import check_writable, is_local

_REQUEUED = "hpc_ckpt_*"  # a job that SLURM starts again goes on from these without being told


def check_places(trainer: pl.Trainer, module: pl.LightningModule, *, fitting: bool = True) -> None:
    """Try to write wherever the run will, while nothing is lost yet; without a fit none of what a fit alone writes.

    Raises:
        InputError: naming the setting and the path: for a file in its place, for a directory without permission, for a
            disk that is full or read-only.
    """
    for place, path in _files(trainer):
        check_writable(place, path, directory=False)
    for place, path in _directories(trainer, module, fitting):
        check_writable(place, path, directory=True)


def check_unused(trainer: pl.Trainer) -> None:
    """Refuse a fit from the start where a run before it has left checkpoints, before model or data are loaded.

    Raises:
        InputError: naming the checkpoint and what to do.
    """
    requeued = any(Path(trainer.default_root_dir).glob(_REQUEUED)) if is_local(trainer.default_root_dir) else True
    if requeued or trainer.fast_dev_run:  # type: ignore[attr-defined]
        return
    for callback in _callbacks(trainer):
        if isinstance(callback, ResumableCheckpoint) and (refusal := callback.refusal(0)) is not None:
            raise InputError(refusal)


def _files(trainer: pl.Trainer) -> Iterator[tuple[str, str]]:
    for each in [*trainer.loggers, *_callbacks(trainer)]:
        if isinstance(each, PlotLogger | SampleTable | WriteRewards) and each.path is not None:
            yield f"{type(each).__name__}.path", each.path


def _directories(trainer: pl.Trainer, module: pl.LightningModule, fitting: bool) -> Iterator[tuple[str, str]]:
    if fitting or not trainer.loggers:
        yield "trainer.default_root_dir", trainer.default_root_dir
    for logger in trainer.loggers:
        if isinstance(logger, CSVLogger):
            yield "CSVLogger.save_dir", logger.save_dir
    for callback in _callbacks(trainer) if fitting else ():
        yield from _of_callback(callback)
    if isinstance(module, PreferenceModule) and isinstance(module.reference_settings, Precomputed):
        yield "model.reference.cache_dir", module.reference_settings.cache_dir or str(default_cache_dir())


def _callbacks(trainer: pl.Trainer) -> list[pl.Callback]:
    return trainer.callbacks  # type: ignore[attr-defined]


def _of_callback(callback: pl.Callback) -> Iterator[tuple[str, str]]:
    name = type(callback).__name__
    if isinstance(callback, Export):
        given = {"path": callback.path, "merged_path": callback.merged_path}
        yield from ((f"{name}.{key}", path) for key, path in given.items() if path is not None)
    if isinstance(callback, ModelCheckpoint) and callback.dirpath is not None:
        yield f"{name}.dirpath", str(callback.dirpath)
