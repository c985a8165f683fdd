"""Equations of the site as pictures inside the page, so that it needs no script to draw them.

An extension of Python-Markdown: GitHub's inline form, a dollar sign and a backtick on either side, and the `.. math::`
blocks of docstrings become SVG in the colour of the text.
"""

from __future__ import annotations

import re
import textwrap
from functools import cache
from html import escape
from typing import Any

from markdown import Extension, Markdown
from markdown.inlinepatterns import InlineProcessor
from markdown.preprocessors import Preprocessor
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser
from matplotlib.path import Path
from matplotlib.textpath import TextPath

_INLINE = r"\$`(.+?)`\$"
BLOCK = re.compile(r"^\.\. math::[ \t]*([^\n]*(?:\n(?:[ \t]+[^\n]*|[ \t]*(?=\n[ \t])))*)", re.MULTILINE)
_CASES = re.compile(r"\\begin\{cases\}(.*?)\\end\{cases\}", re.DOTALL)
# What matplotlib's mathtext lacks of TeX, and how it says the same.
_SPELLINGS = (
    (re.compile(r"\\[tb]?frac([0-9])([0-9])|\\tfrac\{?([0-9])\}?\{?([0-9])\}?"), r"\\frac{\1\3}{\2\4}"),
    (re.compile(r"\\[bB]igg?[lr]?(?=[()\[\]|\\])"), ""),
    (re.compile(r"\\le(?![a-z])"), r"\\leq"),
    (re.compile(r"\\ge(?![a-z])"), r"\\geq"),
    (re.compile(r"\\vert ?"), "|"),
    (re.compile(r"\\mid(?![a-z])"), "|"),
)
_COMMANDS = {Path.MOVETO: "m", Path.LINETO: "l", Path.CURVE3: "q", Path.CURVE4: "c"}
_SIZE = 100  # points of an em, so that coordinates are whole numbers


def spelled(equation: str) -> str:
    """Return an equation in the part of TeX that mathtext reads."""
    equation = _CASES.sub(_in_a_line, " ".join(equation.split()))
    for pattern, other in _SPELLINGS:
        equation = pattern.sub(other, equation)
    return equation


def picture(equation: str) -> str:
    """Draw an equation as an inline SVG for each of its lines; a ValueError where it cannot be read."""
    lines = (line.replace("&", "").strip() for line in re.split(r"\\\\", spelled(equation)))
    return "<br>".join(_drawn(line) for line in lines if line)


@cache
def _drawn(equation: str) -> str:
    """Draw one line, with its base line on that of the text."""
    font = FontProperties(family="DejaVu Sans", math_fontfamily="cm", size=_SIZE)
    width, height, depth, *_ = MathTextParser("path").parse(f"${equation}$", 72, font)
    outline = TextPath((0, 0), f"${equation}$", size=_SIZE, prop=font)
    margin = 8
    left, top, wide, high = -margin, depth - height - margin, width + 2 * margin, height + 2 * margin
    return (
        f'<svg class="equation" role="img" aria-label="{escape(equation, quote=True)}" '
        f'viewBox="{left} {top:.0f} {wide:.0f} {high:.0f}" '
        f'style="width:{wide / _SIZE:.2f}em;vertical-align:{-(depth + margin) / _SIZE:.2f}em">'
        f'<path fill="currentColor" d="{_path(outline)}"/></svg>'
    )


def _path(outline: Path) -> str:
    """Write an outline as SVG has it, in steps from point to point; its y axis goes down."""
    said, here, start = [], (0, 0), (0, 0)
    for points, code in outline.iter_segments(curves=True, simplify=False):
        if code == Path.CLOSEPOLY:
            said.append("z")
            here = start
            continue
        there = [(round(float(x)), round(-float(y))) for x, y in zip(points[::2], points[1::2], strict=True)]
        said.append(_COMMANDS[code] + " ".join(f"{x - here[0]} {y - here[1]}" for x, y in there))
        here = there[-1]
        start = here if code == Path.MOVETO else start
    return "".join(said).replace(" -", "-")


def _in_a_line(found: re.Match[str]) -> str:
    """Write cases one after the other: mathtext has no lines."""
    rows = [row.strip().replace("&", r",\;") for row in re.split(r"\\\\", found[1]) if row.strip()]
    return r"\left\{" + r";\quad ".join(rows) + r"\right\}"


class _Inline(InlineProcessor):
    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str, int, int]:  # noqa: N802
        return self.md.htmlStash.store(picture(m[1])), m.start(0), m.end(0)


class _Blocks(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        return BLOCK.sub(lambda found: self._line(found[1]), "\n".join(lines)).split("\n")

    @staticmethod
    def _line(block: str) -> str:
        return f"\n$`{' '.join(textwrap.dedent(block).split())}`$\n"


class Equations(Extension):
    """The extension, as Python-Markdown asks for it."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 - the name that Python-Markdown calls
        """Register both forms, before backticks and blocks of code are looked at."""
        md.preprocessors.register(_Blocks(md), "math-blocks", 40)
        md.inlinePatterns.register(_Inline(_INLINE, md), "math-inline", 195)


def makeExtension(**settings: Any) -> Equations:  # noqa: N802 - the name that Python-Markdown looks for
    """Return the extension."""
    return Equations(**settings)
