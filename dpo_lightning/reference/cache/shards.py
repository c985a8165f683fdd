"""Shards: immutable files of rows with a checksum, whole or not there.

Little-endian: magic, number of rows, number of values; key of each row; where each row's values begin, and the end of
the last; values, float32; BLAKE2b-128 of all before it, which is also the file's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from dpo_lightning.data.content_hash import KEY
from dpo_lightning.errors import RunError
from dpo_lightning.utils.files import replaced

SUFFIX = ".shard"

_MAGIC = b"DPOREF1\n"
_HEADER = len(_MAGIC) + 16
_DIGEST = 16


class CorruptShard(Exception):  # noqa: N818 - caught and told as a warning
    """A file that is not what was written."""


class Shard(NamedTuple):
    """Rows of a file.

    Attributes:
        path: The file.
        keys: Key of each row, `[rows]`.
        starts: Where each row's values begin, and the end of the last, `[rows + 1]`.
        values: Log-probs in nats of the chosen, then of the rejected completion's tokens, row by row; float32.
    """

    path: Path
    keys: np.ndarray
    starts: np.ndarray
    values: np.ndarray


def write_shard(directory: Path, keys: np.ndarray, rows: Sequence[np.ndarray]) -> Path:
    """Write rows under a temporary name and rename them.

    Args:
        directory: Where the shards are.
        keys: Key of each row.
        rows: Values of each row, float32.

    Raises:
        RunError: when it cannot be written; what was written before stays good.
    """
    starts = np.cumsum([0, *map(len, rows)], dtype="<i8")
    header = _MAGIC + np.array([len(rows), starts[-1]], dtype="<i8").tobytes()
    content = header + keys.astype(KEY).tobytes() + starts.tobytes() + np.concatenate(rows).astype("<f4").tobytes()
    digest = blake2b(content, digest_size=_DIGEST)
    path = directory / f"{digest.hexdigest()}{SUFFIX}"
    try:
        with replaced(path) as temporary:
            temporary.write_bytes(content + digest.digest())
    except OSError as error:
        raise RunError(
            f"reference cache {directory}: {error.strerror}: the rows before are kept and are not scored again; make "
            "room or set another cache_dir"
        ) from error
    return path


def open_shard(path: Path) -> Shard:
    """Map a shard into memory, without reading its values.

    Raises:
        CorruptShard: when its size is not what its header says.
    """
    try:
        content = np.memmap(path, dtype=np.uint8, mode="r")
    except ValueError:
        raise CorruptShard("empty") from None
    if len(content) < _HEADER or content[: len(_MAGIC)].tobytes() != _MAGIC:
        raise CorruptShard("no header")
    rows, values = content[len(_MAGIC) : _HEADER].view("<i8").tolist()
    starts = _HEADER + rows * KEY.itemsize
    first = starts + 8 * (rows + 1)
    end = first + 4 * values
    if min(rows, values) < 0 or len(content) != end + _DIGEST:
        raise CorruptShard("truncated, or longer than its header says")
    return Shard(
        path, content[_HEADER:starts].view(KEY), content[starts:first].view("<i8"), content[first:end].view("<f4")
    )


def check_shard(path: Path) -> Shard:
    """Open a shard and compare its checksum, some 1 GB/s; who edits one may have put its own there.

    Raises:
        CorruptShard: saying what is wrong.
    """
    shard = open_shard(path)
    content = np.memmap(path, dtype=np.uint8, mode="r")
    if blake2b(cast(Any, content[:-_DIGEST]), digest_size=_DIGEST).digest() != content[-_DIGEST:].tobytes():
        raise CorruptShard("its checksum does not match its content")
    if shard.starts[0] != 0 or shard.starts[-1] != len(shard.values) or (np.diff(shard.starts) < 0).any():
        raise CorruptShard("its rows do not follow each other")
    return shard


def row_count(path: Path) -> tuple[int, int]:
    """Read the numbers of rows and values from the header.

    Raises:
        CorruptShard: without a header.
    """
    with path.open("rb") as file:
        header = file.read(_HEADER)
    if len(header) < _HEADER or not header.startswith(_MAGIC):
        raise CorruptShard("no header")
    rows, values = np.frombuffer(header[len(_MAGIC) :], dtype="<i8").tolist()
    return rows, values
