"""The report as one HTML file, which loads nothing and runs nothing."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dpo_lightning.data.inspect.finding import Finding
from dpo_lightning.data.inspect.marked import MarkedExample, Piece
from dpo_lightning.data.inspect.phrases import (
    computed_note,
    computed_rows,
    named,
    named_rows,
    sampled,
    score_lines,
    sentence,
    severity_of,
    split_rows,
    verdict,
)
from dpo_lightning.data.inspect.report import Report
from dpo_lightning.data.inspect.style import STYLE
from dpo_lightning.utils.files import replaced
from dpo_lightning.utils.text import shown, visible

_MOST_ROWS = 200
_NUMBER = re.compile(r"[\d,.]*$")
_CODE = re.compile(r"`([^`\n]+)`")


def write_page(report: Report, path: str | Path) -> None:
    """Write the page; the file is whole or not there."""
    with replaced(path) as temporary:
        temporary.write_text(page(report), encoding="utf-8")


def page(report: Report) -> str:
    """Return the page; markup in the data is text, and what cannot be seen is spelled out."""
    return "\n".join(_parts(report)) + "\n"


def _parts(report: Report) -> Iterator[str]:
    title = html.escape(shown(f"Data of {report.survey.source}"))
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    # No data can load or run anything, even where an escape were missing.
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f'<meta name="color-scheme" content="light dark">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>'
    yield f"<body>\n<main>\n<h1>{title}</h1>"
    yield f"<p>Read as {text(report.survey.format)}. {text(verdict(report))}.</p>"
    if (note := sampled(report)) is not None:
        yield f"<p>{text(note)}</p>"
    yield from _section("Findings", [_finding(each) for each in report.findings] or ["<p>None.</p>"])
    yield from _section("Rows", [_table(split_rows(report))])
    yield from _section("Lengths", _lengths(report))
    yield from _section("Tokens to compute", [_table(computed_rows(report)), f"<p>{text(computed_note(report))}</p>"])
    if report.scores is not None:
        yield from _section("Model", [f"<p>{text(line)}</p>" for line in score_lines(report.scores)])
    yield from _section("Examples", [_legend(), *(_example(each, report.survey.unit) for each in report.examples)])
    yield "</main>\n</body>\n</html>"


def text(content: object) -> str:
    """Return a text as HTML that shows it, secrets masked; what stands in single backticks is code."""
    return _CODE.sub(r"<code>\1</code>", html.escape(shown(content)))


def _section(title: str, parts: Iterable[str]) -> Iterator[str]:
    yield f"<section>\n<h2>{title}</h2>"
    yield from parts
    yield "</section>"


def _finding(finding: Finding) -> str:
    severity = severity_of(finding)
    rows = (
        f"<details><summary>rows</summary><p>{text(named_rows(finding.rows, _MOST_ROWS))}</p></details>"
        if finding.rows
        else ""
    )
    return (
        f'<article class="{severity}"><h3><span class="badge">{severity}</span> {text(finding.name)}</h3>'
        f"<p>{text(sentence(finding))}</p><p class='remedy'>{text(finding.remedy)}</p>{rows}</article>"
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    kinds = [" class=number" if all(map(_NUMBER.match, column[1:])) else "" for column in zip(*rows, strict=True)]
    head = "".join(f"<th{kind}>{text(cell)}</th>" for kind, cell in zip(kinds, rows[0], strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            f'<td{kind} data-name="{text(name)}">{text(cell)}</td>'
            for kind, name, cell in zip(kinds, rows[0], row, strict=True)
        )
        + "</tr>"
        for row in rows[1:]
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _lengths(report: Report) -> Iterator[str]:
    unit, most = report.survey.unit, report.survey.max_length
    limit = "" if most is None else f"; <code>data.max_length</code> is {most:,}"
    yield f"<p>{text(unit.capitalize())} of prompt and completion, before anything is cut{limit}.</p>"
    yield '<div class="bars">'
    highest = max((count for *_, count in report.histogram), default=1)
    for first, last, count in report.histogram:
        beyond = " beyond" if most is not None and first >= most else ""
        yield (
            f'<div class="bin{beyond}"><span>{first:,}–{last:,}</span><span class="bar">'
            f'<i style="width:{_share(count, highest):.1f}%"></i></span><span>{count:,}</span></div>'
        )
    yield "</div>"


def _share(count: int, highest: int) -> float:
    """Return the width of a bar in percent; a count that is not 0 can be seen."""
    return max(100 * count / highest, 0.5) if count else 0.0


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
