"""The report as one HTML file, which loads nothing and runs nothing."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path

from dpo_lightning.data.inspect.finding import Finding
from dpo_lightning.data.inspect.marked import MarkedExample, Piece
from dpo_lightning.data.inspect.phrases import (
    computed_note,
    computed_rows,
    named,
    named_rows,
    nothing_left,
    sampled,
    score_lines,
    sentence,
    severity_of,
    split_rows,
    verdict,
)
from dpo_lightning.data.inspect.report import Report
from dpo_lightning.report.markup import document, length_bars, notice, section, table, text
from dpo_lightning.utils.files import replaced
from dpo_lightning.utils.text import visible

_MOST_ROWS = 200


def write_page(report: Report, path: str | Path) -> None:
    """Write the page; the file is whole or not there."""
    with replaced(path) as temporary:
        temporary.write_text(page(report), encoding="utf-8")


def page(report: Report) -> str:
    """Return the page; markup in the data is text, and what cannot be seen is spelled out."""
    return document(f"Data of {report.survey.source}", _parts(report))


def _parts(report: Report) -> Iterator[str]:
    yield f"<p>Read as {text(report.survey.format)}. {text(verdict(report))}.</p>"
    if (note := sampled(report)) is not None:
        yield f"<p>{text(note)}</p>"
    yield from section("Findings", [_finding(each) for each in report.findings] or ["<p>None.</p>"])
    yield from section("Rows", [table(split_rows(report))])
    if report.histogram:
        yield from section("Lengths", length_bars(report.histogram, report.survey.unit, report.survey.max_length))
    if (note := nothing_left(report)) is not None:
        yield f"<p>{text(note)}</p>"
        return
    yield from section("Tokens to compute", [table(computed_rows(report)), f"<p>{text(computed_note(report))}</p>"])
    if report.scores is not None:
        yield from section("Model", [f"<p>{text(line)}</p>" for line in score_lines(report.scores)])
    yield from section("Examples", [_legend(), *(_example(each, report.survey.unit) for each in report.examples)])


def _finding(finding: Finding) -> str:
    rows = (
        f"<details><summary>rows</summary><p>{text(named_rows(finding.rows, _MOST_ROWS))}</p></details>"
        if finding.rows
        else ""
    )
    said = f"<p>{text(sentence(finding))}</p><p class='remedy'>{text(finding.remedy)}</p>{rows}"
    return notice(severity_of(finding), finding.name, said)


def _legend() -> str:
    return (
        '<p><span class="piece prompt">prompt</span> <span class="piece trained">trained</span> '
        '<span class="piece not-trained">not trained</span></p>'
    )


def _example(example: MarkedExample, unit: str) -> str:
    completions = "".join(
        f"<h4>{text(name)} ({trained:,} {unit} trained)</h4><pre>{''.join(map(_piece, pieces))}</pre>"
        for (name, pieces), trained in zip(example.completions, example.trained, strict=True)
    )
    return (
        f"<details class='example' open><summary>Row {text(named(example.split, example.row))}</summary>"
        f"<h4>prompt (not trained)</h4><pre>{_piece(example.prompt)}</pre>{completions}</details>"
    )


def _piece(piece: Piece) -> str:
    kind = piece.kind.value.replace(" ", "-")
    return f'<bdi class="piece {kind}">{html.escape(visible(piece.text))}</bdi>'
