"""The page of a run, and that of several."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dpo_lightning.report.markup import anchor, document, plain, section
from dpo_lightning.report.page import curves, pairs, texts, usage
from dpo_lightning.report.page.data import data
from dpo_lightning.report.page.settings import settings
from dpo_lightning.report.page.several import comparison
from dpo_lightning.report.page.summary import hints, overview, verdict
from dpo_lightning.report.runs import Run, names_of
from dpo_lightning.utils.files import replaced

PAGE, COMPARISON = "report.html", "comparison.html"


def write_report(directories: Sequence[Path], out: Path | None = None) -> Path:
    """Write the page of a run, or one that compares several, and return its path.

    Args:
        directories: That of each run.
        out: The file; `report.html` in the directory of a run, `comparison.html` in that which several have in common.

    Raises:
        InputError: for a file of a record that is damaged.
        OSError: where the page cannot be written.
    """
    runs = [Run.read(each) for each in directories]
    if len(runs) == 1:
        path, page = directories[0] / PAGE, run_page(runs[0])
    else:
        path, page = Path(os.path.commonpath([each.resolve() for each in directories]), COMPARISON), several_page(runs)
    path = path if out is None else out
    with replaced(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def run_page(run: Run) -> str:
    """Return the page of a run."""
    sections: dict[str, Iterable[str]] = {
        "Hints": hints(run),
        "Configuration": settings(run),
        "Data": data(run),
        "Curves": curves.curves(run),
        "Rewards and margins": pairs.distributions(run),
        "Reward against length": pairs.lengths(run),
        "Calibration": pairs.calibration_of(run),
        "Accuracy": pairs.accuracy(run),
        "Most wrong": texts.worst(run),
        "Samples": texts.samples(run),
        "Throughput and memory": [*usage.cost_in_words(run), *curves.cost(run)],
        "Load the model": usage.loading(run),
        "Reproduce": usage.reproducing(run),
    }
    return document(run.title, [*verdict(run), _contents(sections), *overview(run), *_all(sections)])


def several_page(runs: Sequence[Run]) -> str:
    """Return the page that compares runs."""
    names = names_of([run.directory for run in runs])
    sections = comparison(dict(zip(names, runs, strict=True)))
    return document(f"{len(runs)} runs", [_contents(sections), *_all(sections)])


def _all(sections: dict[str, Iterable[str]]) -> Iterator[str]:
    for title, parts in sections.items():
        yield from section(title, parts)


def _contents(sections: Iterable[str]) -> str:
    links = [f'<a href="#{anchor(title)}">{plain(title)}</a>' for title in sections]
    return f"<nav>{' '.join(links)}</nav>"
