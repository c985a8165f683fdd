"""Results of runs as JSON lines: one a run, written when it ends."""

from __future__ import annotations

import json
import os
from pathlib import Path

from benchmarks.frontier.measure import Estimate, Measurement
from benchmarks.frontier.protocol import Run
from dpo_lightning.errors import InputError


class RunStore:
    """Measurements indexed by the settings of their task; a run with other settings is a separate entry.

    Args:
        path: The file; it need not be there.

    Raises:
        InputError: for a file that holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._measured: dict[str, Measurement] = {}
        if path.exists():
            self._cut_torn_line()
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                key, measurement = _parse(line, f"{path}, line {number}")
                self._measured[key] = measurement

    def find(self, key: str) -> Measurement | None:
        """Return the measurement of the task with this key, or None if it was not run."""
        return self._measured.get(key)

    def add(self, run: Run) -> None:
        """Append a run; it is on disk when this returns."""
        self._measured[run.task.key()] = run.measurement
        row = {
            "name": run.task.name,
            **{field: value._asdict() for field, value in run.measurement._asdict().items()},
            "seconds": round(run.seconds, 2),
            "settings": run.task.settings(),
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _cut_torn_line(self) -> None:
        """Remove what a process that was killed while it wrote has left."""
        with self.path.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def _parse(line: str, place: str) -> tuple[str, Measurement]:
    try:
        row = json.loads(line)
        measurement = Measurement(*(Estimate(**row[field]) for field in Measurement._fields))
        return json.dumps(row["settings"], sort_keys=True), measurement
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{place}: not a run of the frontier: name another --out, or delete the file") from None
