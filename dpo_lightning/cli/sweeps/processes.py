"""Processes of runs, a few beside each other: one that fails does not end the others, and a stop ends all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Protocol

from dpo_lightning.utils.processes import STARTER

_SECONDS_BETWEEN_LOOKS = 0.05


class Process(Protocol):
    """A process, as `subprocess.Popen` is one."""

    def poll(self) -> int | None:
        """Return its exit code; None while it runs."""

    def send_signal(self, number: int) -> None:
        """Send it a signal."""


class Job(NamedTuple):
    """A run to start.

    Attributes:
        name: Its name.
        words: Words of the command.
        directory: Its directory.
        output: File to which what it prints is added.
    """

    name: str
    words: Sequence[str]
    directory: Path
    output: Path


class StopError(Exception):
    """A signal has stopped the sweep.

    Args:
        number: That of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def start(job: Job, environment: Mapping[str, str]) -> Process:
    """Start a run in a process that ends with this one, and hears Ctrl-C from it alone."""
    with job.output.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "dpo_lightning", *job.words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment, STARTER: str(os.getpid())},
            start_new_session=True,
        )


def run_all(
    jobs: Sequence[Job],
    shares: Sequence[Mapping[str, str]],
    *,
    began: Callable[[Job], None],
    ended: Callable[[Job, int], None],
    looked: Callable[[Sequence[Job]], None],
) -> None:
    """Run jobs, as many beside each other as there are shares of the machine.

    Args:
        jobs: The jobs, in their order.
        shares: Variables of the environment, for each of the runs beside each other.
        began: Called before each starts.
        ended: Called with the exit code of each.
        looked: Called at every look, with those that run.

    Raises:
        StopError: on SIGINT or SIGTERM, after all have been told to end, and have.
    """
    waiting, free = [*jobs], [*range(len(shares))]
    running: dict[int, tuple[Job, Process]] = {}
    with _told_to_stop() as told:
        try:
            while waiting or running:
                while waiting and free:
                    job, place = waiting.pop(0), free.pop(0)
                    began(job)
                    running[place] = job, start(job, shares[place])
                time.sleep(_SECONDS_BETWEEN_LOOKS)
                looked([job for job, _ in running.values()])
                for place, job, code in [*_ended(running)]:
                    del running[place]
                    free.append(place)
                    ended(job, code)
                if told:
                    raise StopError(told[0])
        finally:
            _stop([process for _, process in running.values()], told)
            for _, job, code in _ended(running):
                if code == 0:  # it was at its end
                    ended(job, code)


def _ended(running: Mapping[int, tuple[Job, Process]]) -> Iterator[tuple[int, Job, int]]:
    for place, (job, process) in running.items():
        if (code := process.poll()) is not None:
            yield place, job, code


def _stop(processes: Sequence[Process], told: Sequence[int]) -> None:
    """Tell processes to end, and wait for them; a second signal kills them."""
    for process in processes:
        process.send_signal(signal.SIGTERM)
    while any(process.poll() is None for process in processes):
        if len(told) > 1:
            for process in processes:
                process.send_signal(signal.SIGKILL)
        time.sleep(_SECONDS_BETWEEN_LOOKS)


@contextmanager
def _told_to_stop() -> Iterator[list[int]]:
    """Yield a list to which the numbers of signals are added, in the place of what they do elsewhere."""
    told: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        told.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield told
        return
    before: dict[int, Any] = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
