"""Writing and reading of checkpoint files."""

from __future__ import annotations

import errno
import pickle
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Optional

import fsspec
import torch
from lightning.fabric.plugins import TorchCheckpointIO

from dpo_lightning.checkpoints.contents import HYPER_PARAMETERS, STATE_DICT, refuse_newer
from dpo_lightning.checkpoints.integrity import Examined, damage
from dpo_lightning.checkpoints.sharded import is_sharded_checkpoint
from dpo_lightning.errors import InputError, RunError
from dpo_lightning.utils.files import is_local, remove_directory, replaced
from dpo_lightning.utils.text import one_line

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_OF_A_RUN = {"pytorch-lightning_version", HYPER_PARAMETERS, STATE_DICT}


class SaveError(RunError):
    """A checkpoint that could not be written. Those before it are untouched."""


class DurableCheckpointIO(TorchCheckpointIO):
    """Files that are whole or not there, after a power cut too; loading runs no code that a file brings.

    Elsewhere than on a local file system, saving is Lightning's.

    Attributes:
        examined: The finding of who has looked for a checkpoint to load; the next load need not examine it again.
    """

    def __init__(self) -> None:
        self.examined: Examined | None = None

    def take_examined(self) -> Examined | None:
        """Return the finding, once: what is loaded later may have changed on the disk without a trace."""
        examined, self.examined = self.examined, None
        return examined

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write beside `path`, fsync, and rename.

        Raises:
            SaveError: when the file cannot be written, a full disk included. What was there before, stays.
        """
        if storage_options is not None or not is_local(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with saving(path), replaced(path) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: Optional[bool] = None
    ) -> dict[str, Any]:
        """Read a file or a URL; plain types only, unless `weights_only` is False.

        Raises:
            InputError: for a file that is damaged, of a newer format, or holds other types, and for a URL with
                `weights_only=False`.
        """
        with local_copy(path, weights_only, self.take_examined()) as file:
            if file is None:
                return super().load_checkpoint(path, map_location, weights_only is not False)
            if weights_only is False:
                loaded = torch.load(file, map_location=map_location, weights_only=False)
                refuse_newer(loaded, str(path))
                return loaded
            return load_plain(file, str(path), map_location)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a file, or a directory so that it is never half there."""
        if is_local(path) and Path(path).is_dir():
            remove_directory(path)
        else:
            super().remove_checkpoint(path)


@contextmanager
def local_copy(
    path: str | Path | IO[bytes], weights_only: bool | None, examined: Examined | None = None
) -> Iterator[Path | None]:
    """Yield the undamaged file at a path, or one downloaded from a URL or another file system; None for an open file.

    Args:
        path: What is to be loaded.
        weights_only: As in `torch.load`.
        examined: A file that need not be examined again.

    Raises:
        InputError: when there is none, it is damaged, or code of a URL is to be run.
    """
    if not isinstance(path, str | Path):
        yield None
        return
    is_url = str(path).startswith(("http://", "https://"))
    if not is_url and is_local(path):
        if examined is None or not examined.is_still(Path(path)):
            refuse_damaged(Path(path), str(path))
        yield Path(path)
        return
    if is_url and weights_only is False:
        raise InputError(
            f"weights_only=False would run code from {path}: download the file, and load it if you trust it"
        )
    # torch.hub keeps downloads by file name alone: another run's `step=100.ckpt` would be taken for this one.
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "downloaded.ckpt")
        try:
            if is_url:
                torch.hub.download_url_to_file(str(path), str(file), progress=False)
            else:
                with fsspec.open(str(path), "rb") as remote, file.open("wb") as local:
                    shutil.copyfileobj(remote, local)
        except (OSError, ImportError, ValueError) as error:  # a file system is unknown, or has no package here
            raise InputError(f"checkpoint {path}: {_said(error)}") from error
        refuse_damaged(file, str(path))
        yield file


def _said(error: Exception) -> str:
    """Return what an error says; that a file is not there is said by its class alone."""
    return "there is none" if isinstance(error, FileNotFoundError) else one_line(error, 300)


@contextmanager
def saving(path: str | Path) -> Iterator[None]:
    """Turn what the file system refuses into one line.

    Raises:
        SaveError: naming the path, the reason, and on a full disk how much is free.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        cause = _refusal(error)
        if cause is None:
            raise
        intact = "Earlier checkpoints are intact: the run can be resumed from the newest"
        if cause.errno not in _FULL:
            raise SaveError(f"checkpoint {path} could not be written: {cause.strerror or cause}. {intact}") from error
        free = shutil.disk_usage(_existing_parent(Path(path))).free / 2**20
        raise SaveError(
            f"checkpoint {path} could not be written: the disk is full ({cause.strerror}; {free:.0f} MiB are free). "
            f"{intact}, once there is room"
        ) from error


def _refusal(error: BaseException | None) -> OSError | None:
    """The file system's error; torch's writer fails once more while it closes, and hides it."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def _existing_parent(path: Path) -> Path:
    return next(parent for parent in path.absolute().parents if parent.is_dir())


def refuse_damaged(file: Path, name: str) -> None:
    """Examine a file before it is loaded; `name` is what an error calls it.

    Raises:
        InputError: for a file that is not as it was written, and for a directory.
    """
    if file.is_dir() and not is_sharded_checkpoint(file):
        raise InputError(f"checkpoint {name} is a directory, and none of shards: give a file, or a directory of shards")
    if file.is_dir():
        raise InputError(f"checkpoint {name} is a directory of shards: resume from it with the strategy that wrote it")
    if found := damage(file):
        raise InputError(f"checkpoint {name}: {found}: take another one")


def load_plain(file: Path, name: str, map_location: Any = "cpu", mmap: bool = False) -> dict[str, Any]:
    """Load a file of plain types: tensors, numbers, strings, and containers of them.

    Args:
        file: An undamaged file.
        name: What an error calls it.
        map_location: Where tensors go, as in `torch.load`.
        mmap: Read a tensor's bytes only when they are used.

    Raises:
        InputError: when there is anything else in it, or it is of a newer format.
    """
    try:
        loaded = torch.load(file, map_location=map_location, weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        reason = one_line(error, 10_000).rpartition("WeightsUnpickler error: ")[2].split(". ")[0]
        raise InputError(
            f"checkpoint {name} holds more than plain types, whose code does not run: {reason}; a local file that you "
            "trust loads with weights_only=False"
        ) from None
    refuse_newer(loaded, name)
    return loaded


def refuse_others(loaded: object, name: str) -> None:
    """Refuse what no Trainer has written, such as the weights of a model alone.

    Raises:
        InputError: for such a file.
    """
    if not isinstance(loaded, dict) or not _OF_A_RUN & loaded.keys():
        raise InputError(
            f"checkpoint {name} is none of a run: it has none of {', '.join(sorted(_OF_A_RUN))}; weights of a model go "
            "to model.policy"
        )
