"""The curves of a run: training solid, validation dashed, with resumes and hints marked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from dpo_lightning.report.charts.drawn import line_chart
from dpo_lightning.report.charts.frame import Mark, Series
from dpo_lightning.report.markup import folded, text
from dpo_lightning.report.runs import Run, finite

Metrics = Mapping[str, Sequence[tuple[float, float | None]]]


class Panel(NamedTuple):
    """A chart of metrics that share a unit.

    Attributes:
        title: Text above it.
        names: Metrics without their stage.
        unit: What the axis counts; empty where it is a plain number.
    """

    title: str
    names: tuple[str, ...]
    unit: str = ""


LEARNING = (
    Panel("Loss", ("loss",)),
    Panel("Reward accuracy", ("rewards/accuracies",)),
    Panel("Rewards", ("rewards/chosen", "rewards/rejected", "rewards/margins")),
    Panel("Log-ratios to the reference", ("logratios/chosen", "logratios/rejected"), "nats"),
    Panel("Log-probs of completions", ("logps/chosen", "logps/rejected"), "nats"),
    Panel("KL to the reference", ("kl",), "nats"),
    Panel("Learning rate", ("lr",)),
    Panel("Gradient norm", ("grad_norm",)),
    Panel("Length of completions", ("lengths/chosen", "lengths/rejected"), "tokens"),
)
COST = (
    Panel("Pairs per second", ("pairs_per_second",)),
    Panel("Tokens per second", ("tokens_per_second",)),
    Panel("Peak memory", ("memory_gib",), "GiB"),
    Panel("Share of the device's peak (MFU)", ("mfu",)),
)
_NO_CURVE = {"train/seconds", "train/epoch_fraction", "epoch", "epoch_fraction"}


def curves(run: Run) -> Iterator[str]:
    """Yield the curves of what was learned; of other metrics too, folded."""
    metrics = run.metrics
    marked = marks_of(run)
    charts = [each for panel in LEARNING if (each := chart(panel, metrics, marked))]
    if not charts:
        yield "<p>No point was logged: metrics.jsonl is missing or empty.</p>"
        return
    yield "<p class='soft'>Step 0 is before the first update. Training is solid, validation dashed with dots.</p>"
    yield from _legend_of_marks(marked)
    yield f'<div class="charts">{"".join(charts)}</div>'
    known = {name for panel in (*LEARNING, *COST) for name in panel.names}
    others = {
        name: points for name, points in metrics.items() if name not in _NO_CURVE and parts_of(name, known) is None
    }
    if others:
        drawn = (
            line_chart(name, [Series("", points)], marked=marked) for name, points in others.items() if _any(points)
        )
        yield folded(f"{len(others)} other metrics", [f'<div class="charts">{"".join(drawn)}</div>'])


def cost(run: Run) -> Iterator[str]:
    """Yield the curves of throughput and memory, or a sentence where none was logged."""
    charts = [each for panel in COST if (each := chart(panel, run.metrics, marks_of(run)))]
    if charts:
        yield f'<div class="charts">{"".join(charts)}</div>'
    else:
        yield "<p>Neither throughput nor memory was logged.</p>"


def chart(panel: Panel, metrics: Metrics, marked: Sequence[Mark] = ()) -> str | None:
    """Return the chart of a panel; None where no metric of it has a number."""
    series: list[Series] = []
    colours: dict[str, int] = {}
    several = len(panel.names) > 1
    for name, points in metrics.items():
        parts = parts_of(name, panel.names)
        if parts is None or not _any(points):
            continue
        stage, group, metric = parts
        colour = colours.setdefault(f"{group}/{metric}", len(colours))
        legend = " ".join(filter(None, (stage, group, metric.partition("/")[2] if several else "")))
        series.append(Series(legend, points, colour, dash=int(stage != "train"), dots=stage != "train"))
    return line_chart(panel.title, series, marked=marked, note=panel.unit) if series else None


def parts_of(name: str, known: Sequence[str] | set[str]) -> tuple[str, str, str] | None:
    """Return stage, set and metric of a name as `val/easy/loss`; None where the metric is not a known one."""
    stage, _, rest = name.partition("/")
    for metric in known:
        if rest == metric:
            return stage, "", metric
        if rest.endswith(f"/{metric}") and not any(
            rest.endswith(longer) for longer in known if len(longer) > len(metric)
        ):
            return stage, rest[: -len(metric) - 1], metric
    return None


def marks_of(run: Run) -> list[Mark]:
    """Return where the run was resumed and where hints were given."""
    resumed = [each.get("step") for each in run.facts.get("resumed") or () if isinstance(each, dict)]
    marks = [Mark(at, f"resumed at step {at:g}") for at in map(finite, resumed) if at is not None]
    hints = [(finite(hint.get("step")), hint) for hint in run.hints]
    return marks + [
        Mark(at, f"{hint.get('name')} at step {at:g}", is_hint=True) for at, hint in hints if at is not None
    ]


def _legend_of_marks(marked: Sequence[Mark]) -> Iterator[str]:
    for kind, is_hint in (("Dotted upright lines", False), ("Triangles", True)):
        if names := [each.name for each in marked if each.is_hint is is_hint]:
            yield f"<p class='soft'>{kind}: {text(', '.join(names))}.</p>"


def _any(points: Sequence[tuple[float, float | None]]) -> bool:
    return any(value is not None for _, value in points)
