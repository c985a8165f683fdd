"""A terminal of a given width, for this process or for a command, and what stands on its screen."""

from __future__ import annotations

import codecs
import io
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping, Sequence
from fcntl import ioctl
from typing import NamedTuple

import pyte

LINES = 60


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
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
    variables = {**os.environ, "TERM": "xterm-256color", **(environment or {})}
    for name in ("COLUMNS", "LINES", "CI"):
        variables.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, *words], stdin=theirs, stdout=theirs, stderr=theirs, env=variables, close_fds=True
    )
    os.close(theirs)
    screen, decoder = Screen(columns), codecs.getincrementaldecoder("utf-8")()
    for piece in _pieces(ours):
        screen.write(decoder.decode(piece))
    return Seen(screen.lines, screen.moments, process.wait())


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
