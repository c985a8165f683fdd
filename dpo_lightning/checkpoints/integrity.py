"""The examination of a checkpoint: is it as it was written?"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch

from dpo_lightning.checkpoints.contents import LOOPS, LR_SCHEDULERS, OPTIMIZER_STATES, STATE_DICT
from dpo_lightning.compat.torch import check_archive
from dpo_lightning.utils.text import one_line

MANIFEST = "manifest.json"

_RESUMABLE = (STATE_DICT, LOOPS, OPTIMIZER_STATES, LR_SCHEDULERS)
_CHUNK = 1 << 22  # bytes
_DIRECTORY = 0x10  # in the attributes that a zip file keeps for DOS


def problem(path: str | Path) -> str | None:
    """Return why a run cannot be resumed from a checkpoint, in one line; None where it can.

    Args:
        path: A file that Lightning wrote, or a directory of shards that `ResumableCheckpoint` did.
    """
    if found := damage(path):
        return found
    return None if Path(path).is_dir() else _unresumable(Path(path))


class Examined(NamedTuple):
    """A checkpoint that was found whole, so that nobody needs to read it twice before it is loaded.

    Attributes:
        path: The file, or the directory of shards.
        stamps: Inode, size in bytes and time in ns of each file, from before it was read.
    """

    path: Path
    stamps: dict[str, tuple[int, int, int]]

    def is_still(self, path: Path) -> bool:
        """Return whether this is the checkpoint at a path, and its files are the ones that were examined."""
        return path.resolve() == self.path.resolve() and self.stamps == file_stamps(path)


def file_stamps(path: Path) -> dict[str, tuple[int, int, int]]:
    """Return inode, size in bytes and time of the last change in ns of each file of a checkpoint, by its name in it."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    found = [(file, file.stat()) for file in files if file.exists()]
    return {str(file.relative_to(path)): (each.st_ino, each.st_size, each.st_mtime_ns) for file, each in found}


def damage(path: str | Path) -> str | None:
    """Return why a file or a directory of shards is not as it was written, in one line; None for a whole one.

    Reads every byte once: a third of a second per GB from memory. torch itself would load a flipped bit without a word.
    """
    path = Path(path)
    if path.is_dir():
        return _directory_damage(path)
    if not path.is_file():
        return "there is no such file"
    try:
        check_archive(path)  # stricter about the end of the file; it looks at no checksum
        with zipfile.ZipFile(path) as archive:
            return _archive_damage(archive)
    except Exception as error:  # a broken header raises any of a dozen kinds
        return f"it is no whole torch checkpoint ({one_line(error, 100)})"


def checksums(directory: Path, files: Iterable[Path]) -> dict[str, list[int]]:
    """Size in bytes and CRC-32 of files, by their path inside the directory."""
    return {file.relative_to(directory).as_posix(): [file.stat().st_size, _crc32(file)] for file in files}


def _archive_damage(archive: zipfile.ZipFile) -> str | None:
    records = archive.infolist()
    # torch takes such a record for a directory, and reads memory that nobody has written.
    odd = [record.filename for record in records if record.external_attr & _DIRECTORY]
    if odd or len({record.filename for record in records}) < len(records):
        return "its list of records is corrupt"
    corrupt = archive.testzip()
    return None if corrupt is None else f"its record {corrupt} is corrupt"


def _unresumable(path: Path) -> str | None:
    try:
        saved = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # what is inside a pickle decides on the kind
        return f"it cannot be loaded ({one_line(error, 200)})"
    missing = [key for key in _RESUMABLE if not isinstance(saved, dict) or key not in saved]
    return f"it holds no {' and no '.join(missing)}, so a run cannot go on from it" if missing else None


def _directory_damage(path: Path) -> str | None:
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        expected = {name: (size, crc32) for name, (size, crc32) in manifest["files"].items()}
    except FileNotFoundError:
        return f"it has no {MANIFEST}, which is written last"
    except (ValueError, TypeError, KeyError, AttributeError, OSError):
        return f"its {MANIFEST} is corrupt"
    for name, (size, crc32) in expected.items():
        file = path / name
        if not file.is_file():
            return f"its file {name} is missing"
        if file.stat().st_size != size or _crc32(file) != crc32:
            return f"its file {name} is corrupt"
    return None


def _crc32(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            value = zlib.crc32(chunk, value)
    return value
