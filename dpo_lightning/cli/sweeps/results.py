"""Results of a sweep: a row each run, and a mean over seeds for each group of runs that differ in nothing else."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from dpo_lightning.cli.sweeps.axes import Axis, plain_key
from dpo_lightning.errors import InputError
from dpo_lightning.report.runs import Run, runs_at
from dpo_lightning.utils.files import replaced
from dpo_lightning.utils.text import nearest

SEEDS = ("seed_everything", "data.seed")
"""Axes over whose values a mean is taken."""

SAME_SEEDS = (
    "runs that differ in seed_everything alone have the very same values: nothing in them is drawn by it; the order of "
    "the rows is that of data.seed"
)
USUAL_METRIC = "val/rewards/accuracies"
_USUAL = (USUAL_METRIC, "val/loss", "train/rewards/accuracies", "train/loss")
_MOST_NAMED = 5
_LOWER = ("loss", "kl", "perplexity")
_CLOCK = ("train/seconds", "train/pairs_per_second", "train/tokens_per_second", "train/memory_gib", "epoch")


class Row(NamedTuple):
    """Result of a run.

    Attributes:
        name: Its name.
        values: Values of the axes, by their keys.
        status: How it ended.
        metrics: The last value of each metric.
        directory: That of its record; None where it has none.
    """

    name: str
    values: Mapping[str, str]
    status: str
    metrics: Mapping[str, float]
    directory: Path | None


class Group(NamedTuple):
    """Runs that differ in their seed alone; one run where there is no axis of seeds.

    Attributes:
        values: Values of the other axes, by their keys.
        names: Names of its runs.
        mean: Mean of the metric over the runs that have it; None where none has.
        error: Standard error of the mean; None of fewer than two.
        known: How many have it.
    """

    values: Mapping[str, str]
    names: tuple[str, ...]
    mean: float | None
    error: float | None
    known: int


def rows_of(runs: Iterable[Mapping[str, Any]], out: Path) -> list[Row]:
    """Return the results of the runs of a sweep, from their records."""
    return [_row(run, out / run["name"]) for run in runs]


def _row(run: Mapping[str, Any], directory: Path) -> Row:
    found, place = {}, None
    if run["status"] == "finished":
        try:
            place = runs_at(directory)[0]
            read = Run.read(place)
            last = {name: points[-1][1] for name, points in read.metrics.items()}
            found = {name: value for name, value in last.items() if value is not None}  # an older one is not its end
        except InputError:  # a logger of a service keeps no files, and a file may be damaged: the run is there
            place = None
    return Row(run["name"], run["values"], run["status"], found, place)


def groups_of(rows: Sequence[Row], metric: str) -> list[Group]:
    """Return the groups in the order of the runs."""
    found: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for row in rows:
        values = tuple((key, value) for key, value in row.values.items() if plain_key(key) not in SEEDS)
        found.setdefault(values, []).append(row)
    return [_group(dict(values), own, metric) for values, own in found.items()]


def _group(values: Mapping[str, str], rows: Sequence[Row], metric: str) -> Group:
    known = [row.metrics[metric] for row in rows if metric in row.metrics]
    names = tuple(row.name for row in rows)
    error = stdev(known) / math.sqrt(len(known)) if len(known) > 1 else None
    return Group(values, names, mean(known) if known else None, error, len(known))


def metric_of(rows: Sequence[Row], asked: str | None) -> str:
    """Return the metric that was asked for, else the first of the usual ones that a run has logged."""
    return asked or next((name for name in _USUAL if any(name in row.metrics for row in rows)), _USUAL[0])


def same_seeds(rows: Sequence[Row], axes: Sequence[Axis]) -> bool:
    """Return whether seeds of the process were an axis, and made no difference to any run."""
    if not any(axis.name == SEEDS[0] for axis in axes):
        return False
    found: dict[tuple[tuple[str, str], ...], list[dict[str, float]]] = {}
    for row in rows:
        others = tuple((key, value) for key, value in row.values.items() if plain_key(key) != SEEDS[0])
        if row.metrics:
            found.setdefault(others, []).append(
                {name: value for name, value in row.metrics.items() if name not in _CLOCK}
            )
    several = [metrics for metrics in found.values() if len(metrics) > 1]
    return bool(several) and all(each == metrics[0] for metrics in several for each in metrics)


def is_lower_better(metric: str, mode: str | None) -> bool:
    """Return whether less of a metric is better: as said, or as its name has it."""
    return mode == "min" if mode is not None else metric.rpartition("/")[2].endswith(_LOWER)


def ordered(groups: Sequence[Group], *, lower: bool) -> list[Group]:
    """Return groups from the best to the worst; those without a value come last."""
    worst = math.inf if lower else -math.inf
    return sorted(groups, key=lambda each: worst if each.mean is None else each.mean, reverse=not lower)


def check_metric(rows: Sequence[Row], metric: str) -> None:
    """Refuse a metric that no finished run has logged.

    Raises:
        InputError: with those that there are.
    """
    names = sorted({name for row in rows for name in row.metrics} - {*_CLOCK})
    if names and metric not in names:
        close = nearest(metric, names)
        held_out = [name for name in names if name.startswith("val/")]
        remedy = f"did you mean {close}?" if close else f"there are {', '.join((held_out or names)[:_MOST_NAMED])}, ..."
        raise InputError(f"sweep --best: no run has logged {metric}: {remedy} The same command runs none of them again")


def write_csv(path: Path, rows: Sequence[Row], axes: Sequence[str]) -> None:
    """Write a line each run: its name, the values of the axes, how it ended, and the last value of each metric."""
    names = sorted({name for row in rows for name in row.metrics})
    with replaced(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run", *axes, "status", *names])
        for row in rows:
            metrics = [row.metrics.get(name, "") for name in names]
            writer.writerow([row.name, *(row.values[key] for key in axes), row.status, *metrics])


def as_json(groups: Sequence[Group], metric: str) -> dict[str, Any]:
    """Return the groups, from the best to the worst, as `sweep.json` has them."""
    found = [{**each._asdict(), "names": [*each.names], "values": dict(each.values)} for each in groups]
    return {"metric": metric, "groups": found}
