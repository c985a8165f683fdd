"""Processes of runs beside each other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from dpo_lightning.cli.sweeps import processes
from dpo_lightning.cli.sweeps.processes import Job, StopError, run_all

WAITS = "import time; time.sleep(60)"


def job(place: Path, name: str, *words: str) -> Job:
    """A job of these words."""
    return Job(name, words, place / name, place / f"{name}.txt")


def scripts(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen]:
    """Let the words of a job be a script of Python; the processes that were started."""
    started = []

    def start(job: Job, environment: dict[str, str]) -> subprocess.Popen:
        script = subprocess.Popen([sys.executable, "-c", *job.words], env={**os.environ, **environment})
        started.append(script)
        return script

    monkeypatch.setattr(processes, "start", start)
    return started


class Watched:
    """What `run_all` tells of its jobs."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.codes: dict[str, int] = {}
        self.most = 0

    def run(self, jobs: Sequence[Job], shares: Sequence[dict[str, str]]) -> None:
        """Run them."""

        def ended(job: Job, code: int) -> None:
            self.codes[job.name] = code

        def looked(running: Sequence[Job]) -> None:
            self.most = max(self.most, len(running))

        run_all(jobs, shares, began=lambda job: self.began.append(job.name), ended=ended, looked=looked)


def test_a_job_is_the_command_itself_and_adds_what_it_prints_to_a_file(tmp_path: Path) -> None:
    watched = Watched()
    watched.run([job(tmp_path, "a", "--version"), job(tmp_path, "b", "nonsense")], [{}])
    watched.run([job(tmp_path, "b", "--version")], [{}])
    assert watched.codes == {"a": 0, "b": 0}
    assert (tmp_path / "a.txt").read_text().startswith("dpo_lightning ")
    first, second = (tmp_path / "b.txt").read_text().splitlines()
    assert first.startswith("error: unknown command `nonsense`")
    assert second.startswith("dpo_lightning ")


def test_so_many_run_beside_each_other_and_one_that_fails_ends_no_other(tmp_path: Path, monkeypatch) -> None:
    scripts(monkeypatch)
    codes = {"a": 0, "b": 3, "c": 0, "d": 7, "e": 0}
    shares = [{"SHARE": "0"}, {"SHARE": "1"}]
    script = "import os, pathlib; pathlib.Path({path!r}).write_text(os.environ['SHARE']); os._exit({code})"
    jobs = [job(tmp_path, n, script.format(path=str(tmp_path / f"{n}.seen"), code=code)) for n, code in codes.items()]
    watched = Watched()
    watched.run(jobs, shares)
    assert watched.began == [*codes]
    assert watched.codes == codes
    assert watched.most <= 2
    assert {(tmp_path / f"{name}.seen").read_text() for name in codes} == {"0", "1"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_and_starts_no_more(number: signal.Signals, tmp_path: Path, monkeypatch) -> None:
    started = scripts(monkeypatch)
    watched, before = Watched(), signal.getsignal(number)
    jobs = [job(tmp_path, name, WAITS) for name in "abc"]
    monkeypatch.setattr(time, "sleep", stops_after(2, [number]))
    with pytest.raises(StopError) as stopped:
        watched.run(jobs, [{}, {}])
    assert stopped.value.number == number
    assert watched.began == ["a", "b"]
    assert [each.poll() for each in started] == [-signal.SIGTERM] * 2
    assert signal.getsignal(number) is before


def test_a_second_signal_kills(tmp_path: Path, monkeypatch) -> None:
    started = scripts(monkeypatch)
    ready = tmp_path / "ready"
    deaf = f"import pathlib, signal, time; signal.signal(15, signal.SIG_IGN); pathlib.Path({str(ready)!r}).touch(); "
    deaf += "time.sleep(60)"
    monkeypatch.setattr(time, "sleep", stops_after(2, [signal.SIGINT, signal.SIGINT], ready))
    with pytest.raises(StopError):
        Watched().run([job(tmp_path, "a", deaf)], [{}])
    assert started[0].poll() == -signal.SIGKILL


def stops_after(looks: int, numbers: list[signal.Signals], ready: Path | None = None):
    """A `sleep` that sends this process a signal at each look, from some look on."""
    seen, whole = [0], time.sleep

    def sleep(seconds: float) -> None:
        whole(seconds)
        seen[0] += ready is None or ready.exists()
        if seen[0] >= looks and numbers:
            os.kill(os.getpid(), numbers.pop(0))

    return sleep
