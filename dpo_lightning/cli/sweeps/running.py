"""The runs of a sweep, as they are started and end."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml  # type: ignore[import-untyped]
from tqdm import tqdm

from dpo_lightning.cli.sweeps.kept import FAILED, FINISHED, RUNNING, STOPPED, WAITING, Kept, beside
from dpo_lightning.cli.sweeps.plan import Planned
from dpo_lightning.cli.sweeps.processes import Job, StopError, run_all
from dpo_lightning.cli.sweeps.results import rows_of
from dpo_lightning.errors import InputError
from dpo_lightning.report.progress_line import clock, short
from dpo_lightning.report.record import RunRecord, read_rows
from dpo_lightning.utils.files import from_here, replaced
from dpo_lightning.utils.secrets import masked_command
from dpo_lightning.utils.text import one_line, shown

_SECONDS_BETWEEN_STEPS = 1.0
_FALLBACK = (80, 24)


def command_of(run: Planned, out: Path) -> list[str]:
    """Return the words of the command of a run: those that were given, its values, and where it writes."""
    return ["fit", *run.checked.words, f"--config={beside(out, run.name, 'yaml')}"]


class Runner:
    """Runs the runs of a sweep that are not finished, and notes how each one ends.

    Args:
        kept: The sweep.
        runs: The runs.
        metric: The metric that is said of each.
    """

    def __init__(self, kept: Kept, runs: Sequence[Planned], metric: str) -> None:
        self._kept, self._metric = kept, metric
        self._runs = {run.name: run for run in runs}
        self._since: dict[str, float] = {}
        self._looked = 0.0

    def run(self, shares: Sequence[Mapping[str, str]]) -> None:
        """Run them, and note those that a signal stops.

        Raises:
            StopError: by a signal.
        """
        jobs = [self._job(run) for run in self._runs.values()]
        with tqdm(total=len(jobs), desc="runs", unit="run", leave=False, disable=not sys.stderr.isatty()) as bar:
            self._bar = bar
            try:
                run_all(jobs, shares, began=self._began, ended=self._ended, looked=self._look)
            except StopError:
                for name, known in self._kept.runs.items():
                    if known["status"] == RUNNING:
                        self._kept.note(name, status=STOPPED)
                raise

    def _job(self, run: Planned) -> Job:
        """Return how a run is started: from the beginning, or from its last checkpoint."""
        before = self._kept.runs[run.name]
        resumes = before["status"] != WAITING and before["goes_on"]
        words = command_of(run, self._kept.directory)
        words += ["--ckpt_path=last"] if resumes else []
        out = self._kept.directory
        return Job(run.name, words, out / run.name, beside(out, run.name, "txt"))

    def _began(self, job: Job) -> None:
        run, before = self._runs[job.name], self._kept.runs[job.name]
        self._say(f"{job.name}: dpo-lightning {shlex.join(job.words)}")
        if before["status"] != WAITING and not before["goes_on"] and job.directory.exists():
            place = self._kept.set_aside(job.name)
            self._say(
                f"{job.name}: begins anew, since nothing saves what it could go on from (a ResumableCheckpoint does); "
                f"what it had left is in {from_here(place)}"
            )
        elif before["status"] != WAITING:
            self._say(f"{job.name}: goes on from its last checkpoint")
        with replaced(beside(self._kept.directory, job.name, "yaml")) as temporary:
            temporary.write_text(yaml.safe_dump(dict(run.checked.outputs)), encoding="utf-8")
        self._since[job.name] = time.monotonic()
        command = masked_command(["dpo-lightning", *command_of(run, self._kept.directory)])
        self._kept.note(job.name, status=RUNNING, command=command, goes_on=run.checked.goes_on)

    def _ended(self, job: Job, code: int) -> None:
        self._bar.update()
        took = clock(time.monotonic() - self._since[job.name])
        if code:
            said = last_line(job.output) or f"exit code {code}"
            self._kept.note(job.name, status=FAILED, exit_code=code, said=said)
            self._say(f"{job.name}: failed after {took}: {said}")
            return
        known = self._kept.runs[job.name]
        for name in ("exit_code", "said"):
            known.pop(name, None)
        (row,) = rows_of([{**known, "status": FINISHED}], self._kept.directory)
        self._kept.note(job.name, status=FINISHED, metrics=dict(row.metrics))
        value = f", {self._metric} {short(row.metrics[self._metric])}" if self._metric in row.metrics else ""
        self._say(f"{job.name}: finished after {took}{value}")

    def _look(self, running: Sequence[Job]) -> None:
        if self._bar.disable or time.monotonic() - self._looked < _SECONDS_BETWEEN_STEPS:
            return
        self._looked = time.monotonic()
        said = ", ".join(f"{job.name} at step {_step(job.directory)}" for job in running)
        width = shutil.get_terminal_size(_FALLBACK).columns
        self._bar.set_postfix_str(said[: max(width - 40, 10)])

    def _say(self, line: str) -> None:
        self._bar.write(shown(line), file=sys.stdout)
        sys.stdout.flush()


def _step(directory: Path) -> int:
    try:
        return int(max((row.get("step", 0) for row in read_rows(RunRecord(directory).points)), default=0))
    except (InputError, TypeError):
        return 0


def last_line(path: Path) -> str:
    """Return the last line that a run has printed, in one line of a terminal; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(file.tell() - 20_000, 0))
            lines = file.read().decode("utf-8", errors="replace").replace("\r", "\n").split("\n")
    except OSError:
        return ""
    return one_line(next((line for line in reversed(lines) if line.strip()), ""))
