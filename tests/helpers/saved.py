"""Checkpoints as files, whole and hand-broken, and child processes that write them."""

from __future__ import annotations

import functools
import http.server
import os
import signal
import struct
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


def content(step: int = 1, numbers: int = 500) -> dict[str, Any]:
    """What a small run would save."""
    return {
        "global_step": step,
        "state_dict": {"policy.weight": torch.arange(numbers, dtype=torch.float32) + step},
        "loops": {"fit_loop": {}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.full((numbers,), float(step))}}}],
        "lr_schedulers": [{"last_epoch": step}],
    }


def same(left: Any, right: Any) -> bool:
    """Whether two contents are equal, bit for bit."""
    if isinstance(left, torch.Tensor):
        return isinstance(right, torch.Tensor) and left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return (
            isinstance(right, dict) and list(left) == list(right) and all(same(left[key], right[key]) for key in left)
        )
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


def by_content(paths: Iterable[Path]) -> list[list[Path]]:
    """Checkpoint files by what is in them: those of a group are equal byte for byte, so that one resumes for all."""
    groups: dict[frozenset[tuple[str, bytes]], list[Path]] = {}
    for path in paths:
        with zipfile.ZipFile(path) as archive:  # its records begin with the file's name, which their hash is of too
            records = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
        del records[".data/serialization_id"]
        groups.setdefault(frozenset(records.items()), []).append(path)
    return list(groups.values())


def truncate(path: Path, length: int) -> None:
    """Cut a file off."""
    with path.open("r+b") as file:
        file.truncate(length)


def flip(path: Path, position: int, bit: int = 0) -> None:
    """Change one bit of a file."""
    whole = bytearray(path.read_bytes())
    whole[position] ^= 1 << bit
    path.write_bytes(whole)


def spoil(path: Path) -> None:
    """Change one bit in the largest record of a checkpoint file: in a weight."""
    with zipfile.ZipFile(path) as archive:
        record = max(archive.infolist(), key=lambda record: record.file_size)
    name, extra = struct.unpack_from("<HH", path.read_bytes(), record.header_offset + 26)
    flip(path, record.header_offset + 30 + name + extra + record.file_size // 2)


class TouchesAFile:
    """A malicious pickle: whoever loads it runs its code."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (Path.touch, (self.marker,))


def forked(function: Callable[[Callable[[str], None]], None]) -> tuple[int, int]:
    """Run a function in a copy of this process; it gets a function that reports a line.

    Returns:
        The process id and the file descriptor to read the reports from.
    """
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        return child, read
    try:  # the child must not go on as a second pytest
        function(lambda line: os.write(write, f"{line}\n".encode()) and None)
    except BaseException as error:
        os.write(write, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(0)


def reports(child: int, descriptor: int) -> list[str]:
    """Wait for the end of a forked child, and read what it reported."""
    with os.fdopen(descriptor) as file:
        lines = file.read().splitlines()
    os.waitpid(child, 0)
    return lines


def killed_reports(child: int, descriptor: int, after: float) -> list[str]:
    """Kill a forked child some seconds after its first report, and read what it reported."""
    first = os.read(descriptor, 1)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    lines = reports(child, descriptor)
    return [first.decode() + lines[0], *lines[1:]]


@contextmanager
def web_server(directory: Path) -> Iterator[str]:
    """The URL under which the files of a directory are, while inside."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Say nothing."""

    handler = functools.partial(Quiet, directory=directory)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
