"""Files that may be packed, opened for their bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import one_line

SUFFIXES = (".gz", ".bz2", ".zst")
_FIRST_BYTES = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\x28\xb5\x2f\xfd": ".zst"}


class _Watched(io.FileIO):
    """A file that tells how many of its bytes were read."""

    def __init__(self, path: Path, advance: Callable[[int], Any]) -> None:
        super().__init__(path)
        self._advance = advance

    def readinto(self, buffer: Any) -> int:
        count = super().readinto(buffer)
        self._advance(count or 0)
        return count or 0


def opened(path: Path, advance: Callable[[int], Any] = lambda count: None) -> IO[bytes]:
    """Open a file for its bytes, unpacked where it is packed, whatever its name says.

    Args:
        path: The file.
        advance: Is told the number of bytes that were read, of the file as it is.
    """
    with path.open("rb") as file:
        start = file.read(4)
    packed = next((kind for magic, kind in _FIRST_BYTES.items() if start.startswith(magic)), None)
    if packed is None and path.suffix in SUFFIXES:
        packed = path.suffix  # its unpacker says that it is none
    file = io.BufferedReader(_Watched(path, advance), 1 << 20)
    return cast(IO[bytes], _UNPACK[packed](file) if packed else file)


def _unpack_zstd(file: IO[bytes]) -> Any:
    import pyarrow as pa

    if not pa.Codec.is_available("zstd"):
        raise InputError("this pyarrow cannot unpack .zst: unpack the file")
    return pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd")


_UNPACK: dict[str, Callable[[Any], Any]] = {
    ".gz": lambda file: gzip.GzipFile(fileobj=file),
    ".bz2": bz2.BZ2File,
    ".zst": _unpack_zstd,
}


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Name the file in an error of reading it, or of unpacking it.

    Raises:
        InputError: for such an error.
    """
    try:
        yield
    except InputError:
        raise
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: {_line_of_fault(path)}: not UTF-8: {one_line(error)}: save it as UTF-8") from None
    except (OSError, EOFError, zlib.error) as error:
        of_file = isinstance(error, OSError) and error.errno is not None  # what an unpacker says has no number
        damaged = "" if of_file else f": the file is damaged, or no {path.suffix}: take a whole one"
        raise InputError(f"{path}: {one_line(error)}{damaged}") from None


def _line_of_fault(path: Path) -> str:
    with opened(path) as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return f"line {number}"
    return "its end"
