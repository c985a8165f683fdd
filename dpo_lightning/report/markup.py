"""HTML of the pages: texts that stay texts, tables, sections, and a document that loads and runs nothing."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence

from dpo_lightning.report.style import STYLE
from dpo_lightning.utils.secrets import masked_text
from dpo_lightning.utils.text import shown, visible

Cell = str
"""A cell of a table: HTML that `text` or the like has made."""

MOST_CHARACTERS = 20_000
"""Characters of a text of the data that a page shows; of a longer one the rest is counted."""
_AT_ONCE = 700
_LONGEST_SECRET = 2_000
_NUMBER = re.compile(r"-?[\d,.]*(e[-+]\d+)?( ✓)?$")
_ELEMENT = re.compile(r"<[^>]+>")
_CODE = re.compile(r"`([^`\n]+)`")


def text(content: object) -> str:
    """Return a text as HTML that shows it, secrets masked; what stands in single backticks is code."""
    return _CODE.sub(r"<code>\1</code>", plain(content))


def plain(content: object) -> str:
    """Return a text as HTML that shows it as it is, secrets masked."""
    said = str(content)
    if len(said) <= MOST_CHARACTERS:
        return html.escape(shown(said))
    # Beyond the cut, so that a secret across it is whole; what is behind could be half of one.
    seen = masked_text(said[: MOST_CHARACTERS + _LONGEST_SECRET])[:-_LONGEST_SECRET]
    return html.escape(visible(seen)) + "…"


def of_data(content: object) -> str:
    """Return a text of the data as HTML in a direction of its own; what cannot be seen is spelled out."""
    return f"<bdi>{html.escape(visible(content))}</bdi>"


def long_text(content: str) -> str:
    """Return a text of the data as a block; the rest of a long one is folded, and cut where a page bears no more."""
    if len(content) <= _AT_ONCE:
        return f"<pre>{of_data(content)}</pre>"
    rest = content[_AT_ONCE:MOST_CHARACTERS]
    left = len(content) - MOST_CHARACTERS
    more = f"<p class='soft'>{left:,} characters more</p>" if left > 0 else ""
    return (
        f"<pre>{of_data(content[:_AT_ONCE])}…</pre><details><summary>the rest of {len(content):,} characters</summary>"
        f"<pre>…{of_data(rest)}</pre>{more}</details>"
    )


def block(content: str) -> str:
    """Return lines to copy, such as code; secrets masked."""
    return f"<pre class='example'>{plain(content)}</pre>"


def section(title: str, parts: Iterable[str]) -> Iterator[str]:
    """Yield a section with its heading, which the page's list of contents names."""
    yield f'<section id="{anchor(title)}">\n<h2>{plain(title)}</h2>'
    yield from parts
    yield "</section>"


def anchor(title: str) -> str:
    """Return the name of a section in an address."""
    return re.sub(r"\W+", "-", title.lower())


def folded(summary: str, parts: Iterable[str], *, is_open: bool = False) -> str:
    """Return a part that opens; `summary` is HTML."""
    return f"<details class='example'{' open' * is_open}><summary>{summary}</summary>{''.join(parts)}</details>"


def facts(rows: Iterable[tuple[str, object]]) -> str:
    """Return names with their values, of those that have one."""
    known = [(name, value) for name, value in rows if value not in (None, "", [])]
    return f"<dl>{''.join(f'<dt>{text(name)}</dt><dd>{text(value)}</dd>' for name, value in known)}</dl>"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table of texts, whose first row has the names of its columns."""
    return html_table(rows[0], [[text(cell) for cell in row] for row in rows[1:]])


def html_table(names: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Return a table of HTML; on a narrow page each row is a list with the names of its columns.

    Args:
        names: Texts that name the columns.
        rows: Cells of each row. A column of numbers alone is set to the right.
    """
    columns = [*zip(*rows, strict=True)] or [()] * len(names)
    kinds = [
        " class=number" if all(_NUMBER.match(_ELEMENT.sub("", cell)) for cell in column) else "" for column in columns
    ]
    head = "".join(f"<th{kind}>{text(name)}</th>" for kind, name in zip(kinds, names, strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            f'<td{kind} data-name="{plain(name)}"><span>{cell}</span></td>'
            for kind, name, cell in zip(kinds, names, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def notice(severity: str, name: str, rest: str, remark: str = "") -> str:
    """Return something that was found: `error`, `warning` or `info`, what it is, and HTML below it.

    Args:
        severity: The word, which gives the colour too.
        name: Text of the heading.
        rest: HTML below the heading.
        remark: Text behind the name.
    """
    behind = f' <span class="soft">{text(remark)}</span>' if remark else ""
    heading = f'<h3><span class="badge">{severity}</span> {text(name)}{behind}</h3>'
    return f'<article class="{severity}">{heading}{rest}</article>'


def length_bars(bins: Iterable[tuple[float, float, float]], unit: str, most: float | None) -> Iterator[str]:
    """Yield the lengths of completions as bars.

    Args:
        bins: First length, last length, how many.
        unit: What a length counts, such as `tokens`.
        most: Length at which rows are cut; None for none.
    """
    limit = "" if most is None else f"; <code>data.max_length</code> is {most:,.0f}"
    yield f"<p>{text(unit.capitalize())} of prompt and completion, before anything is cut{limit}.</p>"
    yield '<div class="bars">'
    known = [*bins]
    highest = max((count for *_, count in known), default=1)
    for first, last, count in known:
        beyond = " beyond" if most is not None and first >= most else ""
        yield (
            f'<div class="bin{beyond}"><span>{first:,.0f}–{last:,.0f}</span><span class="bar">'
            f'<i style="width:{_share(count, highest):.1f}%"></i></span><span>{count:,.0f}</span></div>'
        )
    yield "</div>"


def _share(count: float, highest: float) -> float:
    """Return the width of a bar in percent; a count that is not 0 can be seen."""
    return max(100 * count / highest, 0.5) if count else 0.0


def document(title: str, parts: Iterable[str]) -> str:
    """Return a whole page.

    Args:
        title: Text of the title and of the first heading.
        parts: HTML below it.
    """
    heading = plain(title)
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            # No data can load or run anything, even where an escape were missing.
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{heading}</title>\n<style>{STYLE}</style>\n</head>",
            f"<body>\n<main>\n<h1>{heading}</h1>",
            *parts,
            "</main>\n</body>\n</html>\n",
        ]
    )
