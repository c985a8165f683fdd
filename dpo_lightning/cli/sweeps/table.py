"""The table that a sweep ends with, in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dpo_lightning.cli.sweeps.axes import Axis
from dpo_lightning.cli.sweeps.names import short_keys, shown_value
from dpo_lightning.cli.sweeps.results import SEEDS, Group, Row
from dpo_lightning.report.progress_line import short
from dpo_lightning.utils.text import shown

_BESIDE = ("val/loss", "val/rewards/margins", "val/logratios/chosen")
_MOST_BESIDE = 2


def show(groups: Sequence[Group], rows: Sequence[Row], axes: Sequence[Axis], metric: str) -> None:
    """Print a row each group, from the best to the worst.

    Args:
        groups: The groups in that order.
        rows: Results of the runs.
        axes: The axes.
        metric: The metric that they are sorted by.
    """
    others = [axis for axis in axes if axis.name not in SEEDS]
    seeds = len(others) < len(axes)
    known = {row.name: row for row in rows}
    beside = [name for name in _BESIDE if name != metric and any(name in row.metrics for row in rows)][:_MOST_BESIDE]
    count = ["runs"] if seeds else []
    short_names = dict(zip((axis.key for axis in axes), short_keys(axes), strict=True))
    titles = [*(short_names[axis.key] for axis in others), metric, *count, *beside, "status"]
    table = Table(*(title.replace("/", "/\n") for title in titles))
    for column in table.columns:
        column.overflow = "fold"
    for group in groups:
        own = [known[name] for name in group.names]
        values = [shown_value(group.values[axis.key]) for axis in others]
        cells = [*values, _value(group, seeds=seeds), *([str(group.known)] if seeds else [])]
        table.add_row(*(Text(shown(cell)) for cell in [*cells, *(_mean(own, name) for name in beside), _status(own)]))
    Console().print(table)


def _value(group: Group, *, seeds: bool) -> str:
    if group.mean is None:
        return ""
    return f"{short(group.mean)} ± {short(group.error)}" if seeds and group.error is not None else short(group.mean)


def _mean(rows: Sequence[Row], name: str) -> str:
    known = [row.metrics[name] for row in rows if name in row.metrics]
    return short(sum(known) / len(known)) if known else ""


def _status(rows: Sequence[Row]) -> str:
    counted = {
        status: sum(row.status == status for row in rows) for status in dict.fromkeys(row.status for row in rows)
    }
    if len(counted) == 1:
        return next(iter(counted))
    return ", ".join(f"{count} {status}" for status, count in counted.items())
