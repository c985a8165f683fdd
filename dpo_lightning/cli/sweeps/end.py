"""The end of a sweep: a table, files, a picture and a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dpo_lightning.cli.sweeps.axes import Axis
from dpo_lightning.cli.sweeps.kept import FAILED, FINISHED, Kept, beside
from dpo_lightning.cli.sweeps.names import short_keys, shown_value
from dpo_lightning.cli.sweeps.results import (
    SAME_SEEDS,
    SEEDS,
    Group,
    Row,
    as_json,
    check_metric,
    groups_of,
    is_lower_better,
    metric_of,
    ordered,
    rows_of,
    same_seeds,
    write_csv,
)
from dpo_lightning.cli.sweeps.table import show
from dpo_lightning.errors import DPOLightningError
from dpo_lightning.report.page.whole import write_report
from dpo_lightning.report.sweep_picture import Measured, draw_sweep
from dpo_lightning.utils.files import from_here
from dpo_lightning.utils.text import one_line, shown

CSV, PICTURE = "sweep.csv", "sweep.png"


def end_of_sweep(kept: Kept, axes: Sequence[Axis], asked: str | None, mode: str | None) -> bool:
    """Print the table, write the files of a sweep, and say where they are and what has failed.

    Args:
        kept: The sweep.
        axes: Its axes.
        asked: The metric to sort by; None takes the first of a few that there is.
        mode: `max` or `min`; None is as the metric's name has it.

    Returns:
        Whether a run has failed.

    Raises:
        InputError: for a metric that no run has logged; all else is written before.
    """
    rows = rows_of(kept.runs.values(), kept.directory)
    metric = metric_of(rows, asked)
    lower = is_lower_better(metric, mode)
    groups = ordered(groups_of(rows, metric), lower=lower)
    kept.write(best=as_json(groups, metric))
    failed = [run for run in kept.runs.values() if run["status"] == FAILED]
    for run in failed:
        print(shown(f"failed: {run['name']}: {run['said']} ({from_here(beside(kept.directory, run['name'], 'txt'))})"))
    if any(row.status == FINISHED for row in rows):
        write_csv(kept.directory / CSV, rows, [axis.key for axis in axes])
        check_metric(rows, metric)
        show(groups, rows, axes, metric)
        print(f"sorted by {metric}, the {'lowest' if lower else 'highest'} first")
        if same_seeds(rows, axes):
            print(SAME_SEEDS)
        places = [kept.directory / CSV, kept.file, *_written(kept.directory, rows, groups, axes, metric)]
        print(shown(f"in {', '.join(map(from_here, places))}"))
    return bool(failed)


def _written(
    out: Path, rows: Sequence[Row], groups: Sequence[Group], axes: Sequence[Axis], metric: str
) -> Iterator[Path]:
    """Write picture and page, and yield their paths; one that cannot be made costs a line."""
    try:
        _draw(out / PICTURE, rows, groups, axes, metric)
        yield out / PICTURE
    except DPOLightningError as error:
        print(shown(f"no picture: {one_line(error)}"))
    directories = [row.directory for row in rows if row.directory is not None]
    if directories:
        try:
            yield write_report(directories, out / "report.html")
        except DPOLightningError as error:
            print(shown(f"no page: {one_line(error)}"))


def _draw(path: Path, rows: Sequence[Row], groups: Sequence[Group], axes: Sequence[Axis], metric: str) -> None:
    others = [axis for axis in axes if axis.name not in SEEDS]
    names = dict(zip((axis.key for axis in axes), short_keys(axes), strict=True))
    if others:
        points = [
            Measured(tuple(shown_value(group.values[axis.key]) for axis in others), group.mean, group.error)
            for group in groups
            if group.mean is not None
        ]
    else:
        others = [*axes]
        points = [
            Measured(tuple(row.values[axis.key] for axis in axes), row.metrics[metric], None)
            for row in rows
            if metric in row.metrics
        ]
    draw_sweep(points, [names[axis.key] for axis in others], metric, path)
