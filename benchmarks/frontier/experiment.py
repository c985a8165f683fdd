"""The frontier as a whole: the runs that it takes, those that are missing, and what all of them show."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.frontier.catalogue import CATALOGUE, START, SWEEPS, Entry
from benchmarks.frontier.points import Point, kept_point, points
from benchmarks.frontier.protocol import Protocol, Task
from benchmarks.frontier.store import RunStore
from benchmarks.frontier.table import Frontier
from dpo_lightning.errors import InputError


@dataclass(frozen=True)
class Experiment:
    """Entries of the catalogue, the starting policy, and the sweeps of these entries.

    Args:
        entries: What is compared, in the order of the picture's numbers.
        seeds: Seeds of the runs of each.
        protocol: What all runs have in common.
        sweeping: Whether an entry that has a sweep is run with its other settings as well.
    """

    entries: Sequence[Entry]
    seeds: Sequence[int]
    protocol: Protocol
    sweeping: bool = True

    def tasks(self) -> list[Task]:
        """Return every run once; seed by seed, so that what is interrupted has a point for each objective."""
        every = [START, *self.entries, *(entry for sweep in self._sweeps().values() for entry in sweep)]
        tasks: dict[str, Task] = {}
        for task in (Task(entry, seed, self.protocol) for seed in self.seeds for entry in every):
            tasks.setdefault(task.key(), task)
        return list(tasks.values())

    def missing(self, store: RunStore) -> list[Task]:
        """Return the tasks that were not run, and of which no mean over these seeds was kept."""
        return [
            task
            for task in self.tasks()
            if not (store.find(task.key()) or kept_point(task.entry, self.seeds, self.protocol, store))
        ]

    def frontier(self, store: RunStore) -> Frontier | None:
        """Return what was run so far; None before the starting policy and an entry were."""
        start, entries = self._points([START], store), self._points(self.entries, store)
        if not (start and entries):
            return None
        sweeps = {name: self._points(sweep, store) for name, sweep in self._sweeps().items()}
        return Frontier(start[0], entries, sweeps, self._twice([*start, *entries], store))

    def _sweeps(self) -> dict[str, tuple[Entry, ...]]:
        if not self.sweeping:
            return {}
        return {entry.name: SWEEPS[entry.name] for entry in self.entries if entry.name in SWEEPS}

    def _twice(self, now: Sequence[Point], store: RunStore) -> list[tuple[Point, Point]]:
        """Return points of which a mean was kept from before, each after that mean."""
        before = ((kept_point(point.entry, self.seeds, self.protocol, store), point) for point in now if not point.kept)
        return [(kept, point) for kept, point in before if kept is not None]

    def _points(self, entries: Sequence[Entry], store: RunStore) -> list[Point]:
        return points(entries, self.seeds, self.protocol, store)


def entries_named(names: Sequence[str]) -> list[Entry]:
    """Return the entries of the catalogue with these names.

    Raises:
        InputError: for a name that is not there, with the nearest that is.
    """
    catalogue = {entry.name: entry for entry in CATALOGUE}
    for name in names:
        if name not in catalogue:
            near = difflib.get_close_matches(name, catalogue, n=1, cutoff=0)
            raise InputError(f"frontier: no objective {name!r} in the catalogue; the nearest is {near[0]!r}")
    return [catalogue[name] for name in names]
