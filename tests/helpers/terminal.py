"""A terminal of a given width, for this process or for a command, and what stands on its screen."""

from __future__ import annotations

import codecs
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from fcntl import ioctl
from pathlib import Path
from typing import NamedTuple

import pyte

from tests.helpers.ranks import as_command
from tests.helpers.resumable import launch

LINES = 60
_OF_THE_SUITE = ("COLUMNS", "LINES", "CI")


class Screen(io.StringIO):
    """A stream that says it is a terminal, and draws what is written.

    Attributes:
        moments: The row of the cursor after each piece of output.
    """

    encoding = "utf-8"

    def __init__(self, columns: int) -> None:
        super().__init__()
        self._columns = columns
        self._screen = pyte.HistoryScreen(columns, LINES, history=10_000, ratio=1)
        self._screen.set_mode(pyte.modes.LNM)  # a line feed goes to the first column, as the driver of a terminal does
        self._stream = pyte.Stream(self._screen)
        self.moments: list[str] = []

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._stream.feed(text)
        self.moments.append(self._screen.display[self._screen.cursor.y].rstrip())
        return len(text)

    @property
    def lines(self) -> list[str]:
        """Rows of the screen that hold text, those that have left it above first."""
        above = ["".join(row[column].data for column in range(self._columns)) for row in self._screen.history.top]
        return [line.rstrip() for line in [*above, *self._screen.display] if line.strip()]


class Seen(NamedTuple):
    """What a person has seen: the screen at the end, and the exit status."""

    lines: list[str]
    moments: list[str]
    code: int


def run_in_terminal(words: Sequence[str], columns: int, environment: Mapping[str, str] | None = None) -> Seen:
    """Run Python with `words` in a pseudo-terminal, and return what its screen shows."""

    def started(theirs: int) -> Callable[[], int]:
        variables = _variables(environment)
        process = subprocess.Popen(
            [sys.executable, *words], stdin=theirs, stdout=theirs, stderr=theirs, env=variables, close_fds=True
        )
        return process.wait

    return _seen(columns, started)


def run_command_in_terminal(
    words: Sequence[str], directory: Path, columns: int, environment: Mapping[str, str] | None = None
) -> Seen:
    """Run `dpo-lightning` as `run_in_terminal` does, forked from a process that has imported everything."""

    def started(theirs: int) -> Callable[[], int]:
        call = (_in_terminal, (os.ttyname(theirs), _variables(environment), list(words), directory), {})
        (process,) = launch(1, directory, lambda _: call)

        def wait() -> int:
            process.join()
            return int(process.exitcode or 0)

        return wait

    return _seen(columns, started)


def _variables(environment: Mapping[str, str] | None) -> dict[str, str]:
    variables = {**os.environ, "TERM": "xterm-256color", **(environment or {})}
    return {name: value for name, value in variables.items() if name not in _OF_THE_SUITE}


def _seen(columns: int, started: Callable[[int], Callable[[], int]]) -> Seen:
    """What is seen of a process that is started at a terminal's other end; it is waited for by what was returned."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
    codes: list[int] = []
    wait = started(theirs)

    def until_the_end() -> None:
        try:
            codes.append(wait())
        finally:
            os.close(theirs)  # what was written can still be read, and then comes the end

    waiting = threading.Thread(target=until_the_end)
    waiting.start()
    screen, decoder = Screen(columns), codecs.getincrementaldecoder("utf-8")()
    for piece in _pieces(ours):
        for part in re.split("(?=\r)", decoder.decode(piece)):  # a row is seen before it is written over
            screen.write(part)
    waiting.join()
    return Seen(screen.lines, screen.moments, codes[0])


def _in_terminal(name: str, variables: dict[str, str], words: list[str], directory: Path) -> None:
    for absent in _OF_THE_SUITE:
        os.environ.pop(absent, None)
    os.environ.update(variables)
    terminal = os.open(name, os.O_RDWR)
    for standard in range(3):
        os.dup2(terminal, standard)
    with ExitStack() as streams:
        for number, redirect in ((1, redirect_stdout), (2, redirect_stderr)):
            streams.enter_context(redirect(streams.enter_context(open(number, "w", buffering=1, closefd=False))))
        as_command(0, words, directory, {})


def _pieces(handle: int) -> Iterator[bytes]:
    while True:
        try:
            piece = os.read(handle, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        yield piece
    os.close(handle)
