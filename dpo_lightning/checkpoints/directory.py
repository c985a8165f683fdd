"""The checkpoints of a run, in their directory."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import torch.distributed as dist
from lightning.pytorch.utilities import rank_zero_warn

from dpo_lightning.checkpoints.integrity import MANIFEST, Examined, checksums, file_stamps, problem
from dpo_lightning.checkpoints.io import SaveError, saving
from dpo_lightning.errors import InputError
from dpo_lightning.utils.files import replaced, temporary_name
from dpo_lightning.utils.ranks import from_all_ranks, from_rank_zero

T = TypeVar("T")

_NAME = re.compile(r"step=(\d+)\.ckpt")


def saved_steps(directory: str | Path) -> dict[int, Path]:
    """The files and directories called `step=N.ckpt`, from the newest optimizer step to the oldest."""
    directory = Path(directory)
    paths = directory.iterdir() if directory.is_dir() else ()
    found = {int(match[1]): path for path in paths if (match := _NAME.fullmatch(path.name))}
    return dict(sorted(found.items(), reverse=True))


def newest_good(directory: str | Path) -> Examined | None:
    """Return the checkpoint of the latest optimizer step from which a run can go on; None where there are none.

    The state of its files is for who loads it next. Worse ones that are newer are named in a warning.

    Raises:
        InputError: where all are bad: to begin anew would be another run.
    """
    bad = []
    for path in saved_steps(directory).values():
        stamps = file_stamps(path)
        found = problem(path)
        if found is None:
            return Examined(path, stamps)
        rank_zero_warn(f"checkpoint {path} is skipped: {found}")
        bad.append(f"{path.name}: {found}")
    if bad:
        raise InputError(f"no good checkpoint in {directory} ({'; '.join(bad)}): delete them to begin anew")
    return None


def sharded_save(path: str | Path, write: Callable[[Path], Any]) -> None:
    """Write a directory of shards; it gets its name when every file is there, on disk, and in a manifest.

    Every rank comes here; the ranks share the work of the checksums. The directory must be one that all of them see.

    Args:
        path: What the directory is to be called.
        write: Writes the shards of all ranks into the directory that it is given.

    Raises:
        SaveError: on every rank, when a file could not be written on one. What was there before, stays.
    """
    rank, world_size = dist.get_rank(), dist.get_world_size()
    shards = from_rank_zero(temporary_name(path))
    try:
        _on_all_ranks(lambda: _write(write, shards, path))
        files = sorted(file for file in shards.rglob("*") if file.is_file())
        parts = _on_all_ranks(lambda: checksums(shards, files[rank::world_size]))
        _on_all_ranks(lambda: _seal(shards, Path(path), parts) if rank == 0 else None)
    except SaveError:
        if rank == 0:
            shutil.rmtree(shards, ignore_errors=True)
        raise


def _write(write: Callable[[Path], Any], shards: Path, path: str | Path) -> None:
    from torch.distributed.checkpoint.api import CheckpointException

    with saving(path):
        try:
            write(shards)
        except CheckpointException as error:  # of all ranks, on all ranks
            raise next(iter(error.failures.values()))[0] from error


def _seal(shards: Path, path: Path, parts: list[dict[str, list[int]]]) -> None:
    with saving(path), replaced(path) as temporary:
        assert temporary == shards, "the shards lie where `replaced` looks for them"
        files = {name: entry for part in parts for name, entry in part.items()}
        (shards / MANIFEST).write_text(json.dumps({"files": files}), encoding="utf-8")


def _on_all_ranks(action: Callable[[], T]) -> list[T]:
    """Each rank's result; a failure on one is raised on all, so that none waits for the others."""
    result, failure = None, None
    try:
        result = action()
    except Exception as error:
        failure = error if isinstance(error, SaveError) else SaveError(f"{type(error).__name__}: {error}")
    everyone = from_all_ranks((result, None if failure is None else str(failure)))
    failures = [message for _, message in everyone if message is not None]
    if failures:
        raise SaveError(failures[0]) from failure
    return [cast(T, value) for value, _ in everyone]
