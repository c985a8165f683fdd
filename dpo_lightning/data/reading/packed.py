"""Files that may be packed, opened for their bytes."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import one_line

SUFFIXES = (".gz", ".bz2", ".zst")
_OTHER_KINDS = {b"PAR1": ".parquet", b"ARROW1": ".arrow", b"PK\x03\x04": ".zip"}
_PIECE = 1 << 16
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


def suffix_of(path: Path) -> str:
    """Return the ending of a file's name, without that of its packing."""
    return Path(path.stem).suffix if path.suffix in SUFFIXES else path.suffix


def _unpack(file: IO[bytes], codec: str) -> Any:
    import pyarrow as pa

    if not pa.Codec.is_available(codec):
        raise InputError(f"this pyarrow cannot unpack {codec}: unpack the file")
    return pa.CompressedInputStream(pa.PythonFile(file, "r"), codec)


_UNPACK: dict[str, Callable[[Any], Any]] = {
    ".gz": lambda file: gzip.GzipFile(fileobj=file),
    ".bz2": partial(_unpack, codec="bz2"),  # Python's own passes over what follows the first stream and is none
    ".zst": partial(_unpack, codec="zstd"),
}


@contextmanager
def readable(path: Path, encoding: str = "utf-8") -> Iterator[None]:
    """Name the file in an error of reading it, or of unpacking it.

    Args:
        path: The file.
        encoding: The encoding of its text.

    Raises:
        InputError: for such an error.
    """
    try:
        try:
            yield
        except UnicodeError as error:
            raise _no_text(path, encoding, error) from None
    except InputError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        of_file = isinstance(error, OSError) and error.errno is not None  # what an unpacker says has no number
        damaged = "" if of_file else f": the file is damaged, or no {path.suffix}: take a whole one"
        raise InputError(f"{path}: {one_line(error)}{damaged}") from None


@contextmanager
def opened_text(path: Path, encoding: str, newline: str, advance: Callable[[int], Any]) -> Iterator[IO[str]]:
    """Open a file for its text, see `opened` and `readable`.

    Args:
        path: The file.
        encoding: The encoding of its text.
        newline: What ends a line, as `io.TextIOWrapper` takes it.
        advance: Is told the number of bytes that were read, of the file as it is.

    Raises:
        InputError: for an error of reading or unpacking it, and for bytes that are no text.
    """
    with readable(path, encoding), io.TextIOWrapper(opened(path, advance), encoding, newline=newline) as text:
        yield text


def _no_text(path: Path, encoding: str, error: UnicodeError) -> InputError:
    """Return what is said of a file whose bytes are no text."""
    with opened(path) as file:
        start = file.read(8)
    other = next((kind for magic, kind in _OTHER_KINDS.items() if start.startswith(magic)), None)
    if other is not None:
        return InputError(f"{path}: no text, but what a {other} file holds: give it that ending, or unpack it")
    is_utf8 = encoding.startswith("utf-8")
    remedy = "save it as UTF-8" + (", or name its encoding in data.load_options.encoding" if is_utf8 else "")
    name = "UTF-8" if is_utf8 else encoding
    return InputError(f"{path}: {_line_of_fault(path, encoding)}: not {name}: {one_line(error)}: {remedy}")


def _line_of_fault(path: Path, encoding: str) -> str:
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1
    with opened(path) as file:
        while piece := file.read(_PIECE):  # an unpacker of pyarrow reads no lines
            for part in io.BytesIO(piece):
                try:
                    line += decoder.decode(part).count("\n")
                except UnicodeError:
                    return f"line {line}"
    return "its end"
