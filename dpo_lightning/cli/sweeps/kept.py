"""State of a sweep: `sweep.json` in its directory, by which the same command goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from dpo_lightning.cli.sweeps.axes import Axis
from dpo_lightning.cli.sweeps.plan import Planned
from dpo_lightning.errors import InputError
from dpo_lightning.report.record import read_document, write_document
from dpo_lightning.utils.files import check_writable
from dpo_lightning.utils.locks import alone
from dpo_lightning.utils.text import one_line

FILE = "sweep.json"
_EARLIER = "earlier"
_MOST_NAMED = 3
_NEEDED = {"name", "values", "made", "goes_on", "shares", "status"}

WAITING, RUNNING, FINISHED, FAILED, STOPPED = "waiting", "running", "finished", "failed", "stopped"
"""States of a run."""


def beside(directory: Path, name: str, kind: str) -> Path:
    """Return the file of a run that is the sweep's: `yaml` says where it writes, `txt` is what it has printed."""
    return directory / "outputs" / f"{name}.{kind}"


class Kept:
    """The sweep of a directory.

    Args:
        directory: The directory.

    Attributes:
        runs: What is known of each run, by its name.
        axes: Keys of the axes; None of a sweep that has not begun.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        found = read_document(self.file)
        try:
            self.runs: dict[str, dict[str, Any]] = {each["name"]: each for each in (found or {}).get("runs", ())}
            self.axes: list[str] | None = None if found is None else [*found["axes"]]
            self._settings: dict[str, Any] = {} if found is None else dict(found["settings"])
            if any(not each.keys() >= _NEEDED for each in self.runs.values()):
                raise KeyError
        except (KeyError, TypeError, AttributeError):
            raise InputError(f"{self.file}: not the file of a sweep of this version: give another --out") from None

    @property
    def file(self) -> Path:
        """The file."""
        return self.directory / FILE

    def begun(self) -> dict[str, dict[str, Any]]:
        """Return the runs that have begun, by name."""
        return {name: run for name, run in self.runs.items() if run["status"] != WAITING}

    def check_axes(self, axes: Sequence[Axis]) -> None:
        """Refuse other axes than those of the directory, before anything is parsed.

        Raises:
            InputError: with both.
        """
        own = [axis.key for axis in axes]
        if self.axes is not None and self.axes != own:
            raise InputError(
                f"sweep --out {self.directory}: there is a sweep over {', '.join(self.axes)}, not over "
                f"{', '.join(own)}: give another --out"
            )

    def take(self, runs: Sequence[Planned], axes: Sequence[Axis], settings: Mapping[str, Any]) -> None:
        """Take runs into the sweep, and write it: those that are there stay as they are.

        Raises:
            InputError: for other settings than those of the runs that are there, and a directory that is none of them.
        """
        if self.axes is not None:
            self._check(settings)
        for run in runs:
            if run.name not in self.runs and (self.directory / run.name).exists():
                raise InputError(
                    f"sweep --out {self.directory}: {run.name} is there, and no run of this sweep: give another --out"
                )
        for run in runs:
            known = self.runs.get(run.name)
            if known is None or known["status"] == WAITING:
                self.runs[run.name] = {
                    "name": run.name,
                    "values": dict(run.values),
                    "made": run.made,
                    "goes_on": run.checked.goes_on,
                    "shares": run.checked.shares,
                    "status": WAITING,
                }
        self.axes, self._settings = [axis.key for axis in axes], dict(settings)

    def _check(self, settings: Mapping[str, Any]) -> None:
        before = self._settings
        names = [name for name in {**before, **settings} if before.get(name) != settings.get(name)]
        if not names:
            return
        said = [f"{name} {_said(before, name)}, not {_said(settings, name)}" for name in names[:_MOST_NAMED]]
        more = f", and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        raise InputError(
            f"sweep --out {self.directory}: its runs were made with other settings ({'; '.join(said)}{more}): give "
            "another --out"
        )

    def note(self, name: str, **known: Any) -> None:
        """Note something of a run, and write it."""
        self.runs[name].update(known)
        self.write()

    def write(self, **beside: Any) -> None:
        """Write the file, with what goes beside the runs."""
        runs = [*self.runs.values()]
        write_document(self.file, {"axes": self.axes, **beside, "runs": runs, "settings": self._settings})

    def set_aside(self, name: str) -> Path:
        """Move what a run has left that begins anew to `earlier/`, and return where it is."""
        place = self.directory / _EARLIER
        place.mkdir(exist_ok=True)
        target = next(each for each in (place / f"{name}-{n}" for n in count(1)) if not each.exists())
        return (self.directory / name).rename(target)


def _said(settings: Mapping[str, Any], name: str) -> str:
    return one_line(settings[name], 60) if name in settings else "left out"


@contextmanager
def alone_in(directory: Path) -> Iterator[None]:
    """Keep other sweeps out of a directory, which is made.

    Raises:
        InputError: where another sweep is running there, and for a directory that cannot be written.
    """
    check_writable("sweep --out", directory, directory=True)
    made = [each for each in (directory, *directory.parents) if not each.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with alone(directory / ".sweep.lock", f"sweep --out {directory}"):
            yield
    finally:
        for each in made:  # as it was, where nothing has begun
            if not any(each.iterdir()):
                each.rmdir()
