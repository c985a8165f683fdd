"""Files that are whole or not there."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

from fsspec.utils import get_protocol

from dpo_lightning.errors import InputError

_PIECE = 1 << 20  # bytes
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)\.(?P<kind>tmp|old)")


@contextmanager
def replaced(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` and rename it to `path` at the end; nothing is left on an exception.

    The caller creates a file or a directory there. An existing `path` stays until the new one is complete and on
    disk. What a killed process leaves, `remove_leftovers` clears up.

    Raises:
        InputError: for a path without a name, and for a file in the place of a directory, which stays.
    """
    path = _target(path)
    if not path.name:
        raise InputError(f"{str(path)!r} is no name of a file or a directory: give one")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        yield temporary
        _sync(temporary)
        if path.is_dir():
            if not temporary.is_dir():
                raise InputError(
                    f"{path} cannot be written: there is a directory, and this is a file: give another path"
                )
            previous = _beside(path, "old")
            path.rename(previous)
            temporary.rename(path)
            shutil.rmtree(previous)
        else:
            temporary.replace(path)
        _sync_entries(path.parent)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


@contextmanager
def spared(path: str | Path) -> Iterator[None]:
    """Warn of a file that cannot be written, such as on a full disk, where the run has more to do than that."""
    try:
        yield
    except OSError as error:
        from lightning.pytorch.utilities import rank_zero_warn  # seconds, which a report of a run does not wait for

        rank_zero_warn(f"{path} could not be written: {error.strerror or error}: the run goes on without it")


def remove_directory(path: str | Path) -> None:
    """Remove a directory so that there is no moment at which half of it is there; of a link to one, the link alone."""
    path = Path(path)
    if path.is_symlink():
        path.unlink()
        return
    doomed = temporary_name(path)
    path.rename(doomed)
    shutil.rmtree(doomed)


def remove_leftovers(directory: str | Path, name: str | None = None) -> None:
    """Clear up what processes that died have left of `replaced` and `remove_directory`: one complete version stays.

    Nobody else may be writing in the directory but live processes of this machine, whose files are left alone.

    Args:
        directory: The directory.
        name: Name of the one file or directory whose leftovers these are; null clears up those of all.
    """
    directory = Path(directory)
    found = [(path, match) for path in directory.glob(".*") if (match := _TEMPORARY.fullmatch(path.name))]
    for path, match in found:
        if name not in (None, match["name"]):
            continue
        if int(match["pid"]) != os.getpid() and is_alive(int(match["pid"])):
            continue
        target = directory / match["name"]
        if match["kind"] == "old" and not target.exists():
            path.rename(target)
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def temporary_name(path: str | Path) -> Path:
    """Return the path at which `replaced` of this process lets the new version be written."""
    return _beside(_target(path), "tmp")


def _target(path: str | Path) -> Path:
    """Return where a link leads, so that it stays: what is written goes there."""
    path = Path(path)
    return path.resolve() if path.is_symlink() else path


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{kind}")


def is_alive(pid: int) -> bool:
    """Return whether there is a process with this number on the machine; true where that cannot be known."""
    if os.name == "nt":  # where 0 is no empty signal
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _sync(path: Path) -> None:
    """Wait until a file, or all that is in a directory, has reached the disk."""
    if path.is_dir():
        for inner in path.iterdir():
            _sync(inner)
        _sync_entries(path)
    else:
        with path.open("r+b") as file:
            os.fsync(file.fileno())


def _sync_entries(directory: Path) -> None:
    """Wait for the names in a directory; some file systems cannot, and keep them without being asked."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def check_writable(place: str, path: str | Path, *, directory: bool) -> None:
    """Find out whether a file or a directory can be written, by a byte in the directory that is there already.

    Args:
        place: Text for the argument that names the path, in an error.
        path: What will be written; it may be there, and its parents need not be. A URL passes.
        directory: Whether it is a directory, and no file.

    Raises:
        InputError: for a file in the place of a directory or the other way round, a path without a name, a directory
            without permission, and a disk that is full or read-only.
    """
    if not is_local(path):
        return
    if not directory and Path(path).is_dir():
        raise InputError(f"{place}: {str(path)!r} cannot be written: it is a directory: give the path of a file")
    path = Path(path).absolute()
    there = next(each for each in (path, *path.parents) if each.exists())
    _refuse_dead_links(place, path, there, directory=directory)
    if there == path and not directory:
        there = path.parent
    if not there.is_dir():
        raise InputError(f"{place}: {path} cannot be written: {there} is a file")
    try:
        with tempfile.NamedTemporaryFile(dir=there, prefix=".", suffix=".tmp") as file:
            file.write(b"0")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f"{place}: {path} cannot be written: {there}: {error.strerror}") from None


def _refuse_dead_links(place: str, path: Path, there: Path, *, directory: bool) -> None:
    """Refuse a link to nothing on the way to a path: no directory can be made there, and no file of a circle."""
    for each in (path, *path.parents):
        if each == there:
            return
        if each.is_symlink() and (directory or each != path or _is_circle(each)):
            raise InputError(f"{place}: {path} cannot be written: {each} is a link that leads nowhere: remove it")


def _is_circle(link: Path) -> bool:
    try:
        link.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def content_of(path: str | Path) -> str:
    """Return the BLAKE2b-128 of a file's bytes, in hexadecimal; the file is read in pieces."""
    digest = blake2b(digest_size=16)
    with Path(path).open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def from_here(path: str | Path) -> str:
    """Return a path as it may be typed here: relative, unless it lies elsewhere."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def is_local(path: str | Path) -> bool:
    """Return whether a path is one of this machine's file system, and no URL of another one."""
    return get_protocol(str(path)) == "file"
