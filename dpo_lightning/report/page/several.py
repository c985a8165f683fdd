"""Several runs beside each other: last values, settings that differ, curves over each other, the frontier."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from dpo_lightning.report.charts.drawn import line_chart, named_dots
from dpo_lightning.report.charts.frame import COLOURS, Series
from dpo_lightning.report.defaults import flat
from dpo_lightning.report.markup import html_table, of_data, text
from dpo_lightning.report.page.curves import LEARNING
from dpo_lightning.report.page.settings import said
from dpo_lightning.report.page.summary import duration, steps
from dpo_lightning.report.page.texts import mean_rewards
from dpo_lightning.report.progress_line import short
from dpo_lightning.report.runs import Run, finite
from dpo_lightning.report.words import called

Runs = Mapping[str, Run]
"""Runs by the names that tell them from each other."""
_NO_DIFFERENCE = {"ckpt_path"}
_MOST_COLUMNS = 5  # of runs beside each other


class Value(NamedTuple):
    """A last value of a run.

    Attributes:
        title: What it is.
        metric: Its name; empty for the mean reward of the samples.
        sign: 1 where more is better, -1 where less is, 0 where neither is.
    """

    title: str
    metric: str
    sign: int


_VALUES = (
    Value("reward accuracy", "val/rewards/accuracies", 1),
    Value("loss", "val/loss", 0),  # of another beta or objective it is another measure
    Value("reward margin", "val/rewards/margins", 0),
    Value("log-ratio of chosen", "val/logratios/chosen", 0),
    Value("KL to the reference", "val/kl", 0),
    Value("reward of samples", "", 1),
)


def comparison(runs: Runs) -> dict[str, Iterable[str]]:
    """Return the sections of a comparison by their titles."""
    return {
        "Results": results(runs),
        "Settings that differ": differences(runs),
        "Curves": overlaid(runs),
        "Frontier": frontier(runs),
    }


def results(runs: Runs) -> Iterator[str]:
    """Yield the last values side by side, the better ones marked."""
    same = len({called(run.of("objective")) for run in runs.values()}) == 1
    values = [Value(*each[:2], -1) if same and each.metric == "val/loss" else each for each in _VALUES]
    found = {each: [_last(run, each) for run in runs.values()] for each in values}
    known = [each for each in values if any(value is not None for value in found[each])]
    named = [f"{place + 1} {of_data(name)}" for place, name in enumerate(runs)]
    if known:
        rows = [[name, *(_cell(found[each], place, each.sign) for each in known)] for place, name in enumerate(named)]
        yield html_table(["run", *(each.title for each in known)], rows)
        yield "<p class='soft'>Values of the last validation. The better ones are marked where they compare.</p>"
    abouts = [
        [called(run.of("objective")), steps(run), duration(run), str(run.facts.get("status") or "")]
        for run in runs.values()
    ]
    rows = [[name, *map(text, about)] for name, about in zip(named, abouts, strict=True)]
    yield html_table(["run", "objective", "steps", "time", "status"], rows)
    for name, run in runs.items():
        for line in run.facts.get("verdict") or ():
            yield f"<p class='soft'>{of_data(name)}: {text(line)}</p>"


def differences(runs: Runs) -> Iterator[str]:
    """Yield the settings in which the configs differ."""
    configs = {name: flat(run.config) for name, run in runs.items() if run.config is not None}
    if len(configs) < len(runs):
        missing = ", ".join(of_data(name) for name in runs if name not in configs)
        yield f"<p>Without a config.yaml: {missing}.</p>"
    if len(configs) < 2:
        return
    found = {key: values for key, values in _values_of(configs).items() if len({*values}) > 1}
    if not found:
        yield "<p>The configs are the same.</p>"
    elif len(configs) <= _MOST_COLUMNS:
        yield html_table(["setting", *configs], [[text(key), *map(text, values)] for key, values in found.items()])
    else:
        names = [*configs]
        rows = [
            [text(key), text(value), ", ".join(of_data(names[at]) for at, each in enumerate(values) if each == value)]
            for key, values in found.items()
            for value in dict.fromkeys(values)
        ]
        yield html_table(["setting", "value", "runs"], rows)


def _values_of(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the values of each setting, one for each config; empty where it has none."""
    keys = dict.fromkeys(key for config in configs.values() for key in config if key not in _NO_DIFFERENCE)
    return {key: [said(config[key]) if key in config else "" for config in configs.values()] for key in keys}


def overlaid(runs: Runs) -> Iterator[str]:
    """Yield a chart of each metric with a line for each run: of validation, where that has it, else of training.

    Where there are more runs than colours, the colours come again with lines of another kind.
    """
    charts = [
        line_chart(_title(stage, panel.title, metric), series, note=panel.unit)
        for panel in LEARNING
        for metric in panel.names
        for stage in [_stage(runs, metric)]
        if (series := _series(runs, f"{stage}/{metric}"))
    ]
    yield f'<div class="charts">{"".join(charts)}</div>' if charts else "<p>None of the runs has logged a point.</p>"


def frontier(runs: Runs) -> Iterator[str]:
    """Yield what was won against how far the policy went from its reference: a point each run."""
    gained = Value("reward of samples", "", 1)
    if any(_last(run, gained) is None for run in runs.values()):
        gained = _VALUES[0]
    for metric, title, sign in (
        ("val/kl", "KL to the reference, nats", 1),
        ("val/logratios/chosen", "how far the log-prob of chosen has fallen, nats", -1),
    ):
        points = [(name, run.last(metric), _last(run, gained)) for name, run in runs.items()]
        known = [(name, sign * far, value) for name, far, value in points if far is not None and value is not None]
        if len(known) > 1:
            yield (
                "<p class='soft'>Of two runs that won the same, the one further left kept more of its reference.</p>"
                f'<div class="charts">{named_dots(gained.title.capitalize(), known, x_title=title)}</div>'
            )
            return
    yield "<p>That needs two runs with a held-out accuracy, and with a KL or log-ratios to the reference.</p>"


def _last(run: Run, value: Value) -> float | None:
    if value.metric:
        return run.last(value.metric)
    means = mean_rewards(run, "policy")
    return means[-1][1] if means else None


def _cell(values: Sequence[float | None], place: int, sign: int) -> str:
    value = values[place]
    if value is None:
        return ""
    known = [sign * each for each in values if each is not None]
    is_best = sign != 0 and sign * value == max(known) and len(known) > 1 and min(known) < max(known)
    return f'<span class="better" title="the better one">{short(value)} ✓</span>' if is_best else short(value)


def _stage(runs: Runs, metric: str) -> str:
    return "val" if any(f"val/{metric}" in run.metrics for run in runs.values()) else "train"


def _title(stage: str, title: str, metric: str) -> str:
    part = metric.partition("/")[2]
    said = {"val": "held out", "train": "training"}[stage]
    return f"{title}: {part}, {said}" if part and part != "accuracies" else f"{title}, {said}"


def _series(runs: Runs, name: str) -> list[Series]:
    found = [(place, run_name, run.metrics.get(name, [])) for place, (run_name, run) in enumerate(runs.items())]
    return [
        Series(f"{place + 1} {run_name}", points, place, place // COLOURS, dots=name.startswith("val/"))
        for place, run_name, points in found
        if any(finite(value) is not None for _, value in points)
    ]
