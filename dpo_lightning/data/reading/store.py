"""Rows of files, kept as Arrow files in the cache of `datasets` and mapped into memory."""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import FileLock

from dpo_lightning.compat.datasets import json_text
from dpo_lightning.data.reading.exact import Block, converted, widened
from dpo_lightning.data.reading.options import FileOptions
from dpo_lightning.data.reading.packed import readable
from dpo_lightning.data.reading.row_names import RowsInFile
from dpo_lightning.errors import InputError, prefixed
from dpo_lightning.utils.text import one_line, shown

if TYPE_CHECKING:
    from datasets import Dataset

_VERSION = "2"  # part of the key: change it with anything that changes what is read of a file
_COUNT = "rows"  # name of the file with the number of rows of each file
_PIECE = 1 << 24
_SLOW = 3.0  # seconds until a progress bar is shown


class FileState(NamedTuple):
    """Numbers that change with the content of a file.

    Attributes:
        inode: Its inode.
        size: Its bytes.
        written: When it was written, in ns, which can be set back.
        changed: When it, or what is known of it, was changed, in ns, which cannot.
    """

    inode: int
    size: int
    written: int
    changed: int


Reader = Callable[[Path, FileOptions, Callable[[int], Any]], Iterator[Block]]
"""Reads a file in blocks, and tells how many of its bytes were read."""


class ReadFile(NamedTuple):
    """A file and its reader.

    Attributes:
        path: The file.
        kind: Name of the reader.
        reader: The reader.
    """

    path: Path
    kind: str
    reader: Reader


class Loaded(NamedTuple):
    """Rows of a split.

    Attributes:
        rows: The rows.
        files: Where they stand, in their order; empty where that is in no file.
    """

    rows: Dataset
    files: Sequence[RowsInFile] = ()


def read_files(files: Sequence[ReadFile], options: FileOptions, cache: str | None = None) -> Loaded:
    """Return the rows of files, one file after the other: from the cache where these bytes were read before.

    Several processes may ask at once: one of them reads, and nothing half-written has the name of what is whole.

    Args:
        files: The files.
        options: How they are read.
        cache: Directory of the cache; None takes that of `datasets`.

    Raises:
        InputError: of a reader, and where the cache cannot be written.
    """
    import datasets

    json_text()
    parts = [(file.kind, file.path.suffixes[-2:], _digest(file.path, state_of(file.path))) for file in files]
    key = blake2b(json.dumps([_VERSION, asdict(options), parts]).encode(), digest_size=16).hexdigest()
    directory = Path(cache or datasets.config.HF_DATASETS_CACHE).expanduser() / "dpo_lightning" / key
    found = _opened(directory, key)
    if found is None:
        with _writable(directory.parent), FileLock(f"{directory}.lock"):
            if (found := _opened(directory, key)) is None:
                _fill(directory, files, options)
                found = _opened(directory, key)
    if found is None:
        raise InputError(f"the cache {directory} was removed while it was read: start again")
    rows, counts = found
    return Loaded(rows, [RowsInFile(str(file.path), 0, count) for file, count in zip(files, counts, strict=True)])


def state_of(path: Path) -> FileState:
    """Return what changes with the content of a file.

    Raises:
        InputError: for a file that cannot be found.
    """
    with readable(path):
        stat = path.stat()
        return FileState(stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@functools.lru_cache(maxsize=4096)  # each split of a run asks again
def _digest(path: Path, state: FileState) -> str:
    digest = blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    except OSError as error:
        raise InputError(f"{path}: {one_line(error)}") from None
    return digest.hexdigest()


@contextmanager
def _writable(directory: Path) -> Iterator[None]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise InputError(f"the cache {directory} cannot be written: {one_line(error)}") from None


def _fill(directory: Path, files: Sequence[ReadFile], options: FileOptions) -> None:
    made = directory.with_suffix(".incomplete")
    shutil.rmtree(made, ignore_errors=True)  # of a process that was killed
    made.mkdir()
    try:
        before = [state_of(file.path) for file in files]
        counts = _write(made, files, options)
        for file, state in zip(files, before, strict=True):
            if state_of(file.path) != state:
                raise InputError(f"{file.path}: the file has changed while it was read")
        (made / _COUNT).write_text(json.dumps(counts))
        shutil.rmtree(directory, ignore_errors=True)  # one that is not whole
        os.replace(made, directory)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _write(directory: Path, files: Sequence[ReadFile], options: FileOptions) -> list[int]:
    """Write parts, each under the types that its blocks needed, and then those again whose types became wider.

    Returns:
        The number of rows of each file.
    """
    counts = [0] * len(files)
    parts: list[tuple[Path, Mapping[str, Any]]] = []
    features: dict[str, Any] = {}
    with ExitStack() as stack:
        for number, block in _blocks(files, options):
            counts[number] += block.table.num_rows
            wider = widened(features, block.features)
            if not parts or wider != features:
                stack.close()
                features = wider
                parts.append((directory / f"part-{len(parts):05d}.arrow", features))
                stream = stack.enter_context(_stream(*parts[-1]))
            with prefixed(f"{files[number].path}: "):
                stream.write_table(converted(block, features))
    for path, had in parts:
        if had != features:
            _rewrite(path, had, features)
    return counts


def _blocks(files: Sequence[ReadFile], options: FileOptions) -> Iterator[tuple[int, Block]]:
    from datasets.utils import tqdm

    name = files[0].path.name if len(files) == 1 else f"{len(files)} files"
    size = sum(file.path.stat().st_size for file in files)
    with tqdm(total=size, unit="B", unit_scale=True, desc=shown(f"reading {name}"), delay=_SLOW) as bar:
        for number, file in enumerate(files):
            for block in file.reader(file.path, options, bar.update):
                yield number, block


def _stream(path: Path, features: Mapping[str, Any]) -> Any:
    import pyarrow as pa
    from datasets import Features

    return pa.ipc.new_stream(str(path), Features(features).arrow_schema)


def _rewrite(path: Path, had: Mapping[str, Any], features: Mapping[str, Any]) -> None:
    import pyarrow as pa

    other = path.with_suffix(".wider")
    with pa.memory_map(str(path)) as file, _stream(other, features) as stream:
        for batch in pa.ipc.open_stream(file):
            stream.write_table(converted(Block(pa.Table.from_batches([batch]), had), features))
    os.replace(other, path)


def _parts(directory: Path) -> list[Path]:
    return sorted(directory.glob("part-*.arrow"))


def _opened(directory: Path, key: str) -> tuple[Dataset, list[int]] | None:
    """Return what is in the cache; None where that is nothing, or not whole, since a file of it was removed."""
    from datasets import Dataset
    from datasets.table import MemoryMappedTable, concat_tables

    try:
        counts: list[int] = json.loads((directory / _COUNT).read_text())
    except (OSError, ValueError):
        return None
    parts = [MemoryMappedTable.from_file(str(path)) for path in _parts(directory)]
    rows = Dataset(concat_tables(parts), fingerprint=key) if parts else Dataset.from_dict({})
    return (rows, counts) if len(rows) == sum(counts) else None
