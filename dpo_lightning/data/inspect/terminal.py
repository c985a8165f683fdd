"""The report in a terminal: plain where nobody looks, in colour where somebody does."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dpo_lightning.data.inspect.finding import Finding, Severity
from dpo_lightning.data.inspect.marked import Kind, MarkedExample, Piece
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
from dpo_lightning.utils.text import shown, visible

_COLOURS = {Severity.INFO: "cyan", Severity.WARNING: "yellow", Severity.ERROR: "bold red"}
_STYLES = {Kind.PROMPT: "blue", Kind.SCORED: "green", Kind.UNSCORED: "dim"}
_BAR = 30  # characters of the longest bar


def print_report(report: Report, console: Console) -> None:
    """Print a report; `console` decides on width and colour."""
    console.print(Text(shown(f"{report.survey.source}: read as {report.survey.format}")))
    console.print(_table(split_rows(report), numbers=range(1, 6)))
    if (note := sampled(report)) is not None:
        console.print(Text(note))
    if report.histogram:
        _print_lengths(report, console)
    if (note := nothing_left(report)) is not None:
        console.print(Text(note))
    else:
        console.print(_table(computed_rows(report), numbers=(1, 2)))
        console.print(Text(computed_note(report)))
    for example in report.examples:
        _print_example(example, report.survey.unit, console)
    if report.scores is not None:
        _heading("Model", console)
        console.print(Text(shown("\n".join(score_lines(report.scores)))))
    _heading(f"Findings: {verdict(report)}", console)
    for finding in report.findings:
        _print_finding(finding, console)


def _heading(text: str, console: Console) -> None:
    console.print()
    console.print(Text(text, style="bold"))


def _table(rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> Table:
    table = Table()
    for place, name in enumerate(rows[0]):
        table.add_column(name, justify="right" if place in numbers else "left", overflow="fold")
    for row in rows[1:]:
        table.add_row(*(Text(shown(cell)) for cell in row))
    return table


def _print_lengths(report: Report, console: Console) -> None:
    unit, most = report.survey.unit, report.survey.max_length
    limit = "" if most is None else f"; data.max_length is {most}"
    _heading(f"Lengths: {unit} of prompt and completion, before anything is cut{limit}", console)
    bins = report.histogram
    highest = max(count for *_, count in bins)
    width = len(f"{bins[-1][1]}")
    for first, last, count in bins:
        bar = "█" * max(round(_BAR * count / highest), int(count > 0))
        console.print(Text(f"{first:>{width}} to {last:>{width}} {bar:<{_BAR}} {count:,}"))
    console.print()


def _print_example(example: MarkedExample, unit: str, console: Console) -> None:
    _heading(f"Row {named(example.split, example.row)}", console)
    console.print(Text("prompt (not trained)"))
    console.print(_piece(example.prompt, console))
    for (name, pieces), trained in zip(example.completions, example.trained, strict=True):
        console.print(Text(f"{name} ({trained} {unit} trained)"))
        console.print(Text.assemble(*(_piece(piece, console) for piece in pieces)))


def _piece(piece: Piece, console: Console) -> Text:
    """Return a piece in the colour of its kind; without colours, what is not trained stands in marks."""
    text = visible(piece.text)
    if piece.kind is Kind.UNSCORED and (console.no_color or not console.is_terminal):
        text = f"[not trained: {text}]"
    return Text(text, style=_STYLES[piece.kind])


def _print_finding(finding: Finding, console: Console) -> None:
    console.print()
    title = Text(severity_of(finding), style=_COLOURS[finding.severity])
    console.print(title.append(f" {finding.name}", style="bold"))
    console.print(Text(shown(sentence(finding))))
    if finding.rows:
        console.print(Text(f"rows: {named_rows(finding.rows)}"))
    console.print(Text(shown(finding.remedy)))
