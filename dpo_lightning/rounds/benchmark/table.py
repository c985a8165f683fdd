"""Results on a benchmark as lines of a terminal, 80 characters wide."""

from __future__ import annotations

from collections.abc import Iterator

from dpo_lightning.report.statistics import Interval
from dpo_lightning.rounds.benchmark.results import Part, Results
from dpo_lightning.rounds.benchmark.sections import TIES

_NAME = 30
_HEAD = f"{'':{_NAME}} {'rows':>6}  {'accuracy (95 %)':<20} {'ties':>5} {'longer wins':>12}"


def table(results: Results) -> Iterator[str]:
    """Yield the lines: subsets, sections, all rows, and what length has to do with it."""
    yield _HEAD
    for name, part in results.subsets.items():
        yield _line(name, part)
    yield _line("all rows", results.whole)
    yield from _means(results)
    yield from _notes(results)


def _line(name: str, part: Part) -> str:
    return (
        f"{_short(name):{_NAME}} {part.accuracy.of:>6}  {_said(part.accuracy):<20} {part.ties:>5} "
        f"{100 * part.longer_wins:>10.1f} %"
    )


def _means(results: Results) -> Iterator[str]:
    if results.sections:
        yield "RewardBench's sections, subsets by its weights:"
        for name, section in results.sections.items():
            part = "" if len(section.subsets) == section.of else f"  ({len(section.subsets)} of {section.of} subsets)"
            yield f"  {name:{_NAME - 2}} {'':6}  {100 * section.accuracy:.1f} %{part}"
        if results.mean_of_sections is not None:
            yield f"  {'mean of the four sections':{_NAME - 2}} {'':6}  {100 * results.mean_of_sections:.1f} %"
    if results.ties_score is not None:
        yield f"{_short(f'RewardBench 2: score of {TIES}'):{_NAME}} {'':6}  {100 * results.ties_score:.1f} %"
    if len(results.subsets) > 1:
        name = f"mean of {len(results.subsets)} subsets"
        yield f"{name:{_NAME}} {'':6}  {100 * (results.mean_of_subsets or 0):.1f} %"


def _notes(results: Results) -> Iterator[str]:
    longer, shorter = results.whole.when_longer, results.whole.when_shorter
    parts = [
        f"{_said(each)} of {each.of} rows where the right text is {name}"
        for name, each in (("the longest", longer), ("not", shorter))
        if each is not None
    ]
    yield "length: " + ("\n        ".join(parts))
    if results.whole.ties:
        counts = "half" if results.ties == "half" else "as wrong"
        yield f"ties: two equal scores of a pair count {counts} (--ties), k of more 1 / k"


def _said(interval: Interval) -> str:
    return interval.said


def _short(name: str) -> str:
    return name if len(name) <= _NAME else name[: _NAME - 1] + "…"
